"""How the page looks: system fonts, on light and on dark, nothing fetched."""

CSS = """
.gradio-container { max-width: 1400px !important; margin: 0 auto !important }
.gradio-container h1 { font-size: 1.5rem; margin: .4rem 0 }
.gradio-container h2 { font-size: 1.05rem; margin: .6rem 0 0 }
.gradio-container h3 { font-size: 1.05rem; margin: .2rem 0 .4rem; overflow-wrap: anywhere }
.gradio-container h4 { font-size: .9rem; margin: .8rem 0 .2rem; font-weight: 600 }
.explore { border: 2px dashed #b26a00; border-radius: 8px; padding: .6rem 1rem; margin: .5rem 0;
  background: rgb(255 180 60 / 14%) }
.trouble { border-left: 6px solid #d03a2f; padding: .6rem 1rem; background: rgb(208 58 47 / 10%);
  overflow-wrap: anywhere }
.trouble p { margin: .4rem 0 0 }
.quiet, .interval { opacity: .85 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1.2rem }
.pair section { border: 1px solid rgb(128 128 128 / 35%); border-radius: 8px; padding: .8rem 1rem }
.rul { font-size: 1rem; margin: 0 } .rul b { font-size: 2rem; line-height: 1.2 }
.interval { margin: 0 0 .6rem }
.flags { list-style: none; padding: 0 !important; margin: .4rem 0 }
.flags li { margin: 0 !important; padding-left: .6rem; border-left: 5px solid #2f8f5b }
.flags li.over { border-color: #d03a2f } .flags span { opacity: .85 }
.gradio-container table.why, .gradio-container table.compare { border-collapse: collapse; width: 100%;
  font-size: .87rem; margin: .3rem 0 }
.why th, .why td, .compare th, .compare td { text-align: left; padding: .25rem .6rem .25rem 0;
  font-weight: 400; border: 0 !important; border-bottom: 1px solid rgb(128 128 128 / 30%) !important;
  vertical-align: top }
.why tr:first-child th, .compare tr:first-child th { font-weight: 600 }
.gradio-container :is(.why, .compare), .gradio-container :is(.why, .compare) :is(tbody, tr) {
  border: 0 !important }
.why td:nth-child(4) { white-space: nowrap } .why .bar { width: 24% }
.why .bar span { display: block; height: 11px; border-radius: 2px; min-width: 2px }
.why .less { background: #d9822b } .why .more { background: #1f6feb }
.model { font-size: .8rem; opacity: .9; margin: .7rem 0 0; overflow-wrap: anywhere }
.gradio-container button[role=tab].selected, .gradio-container .min_value, .gradio-container .max_value {
  color: inherit !important }
.wide { overflow-x: auto; max-width: calc(100vw - 6rem) } .loaded { margin: .2rem 0 }
"""
