"""What every page that opens without a server has in common: its look, and tables whose cells are escaped."""

from collections.abc import Iterable
from datetime import datetime
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #1c2733; --muted: #4a5763; --line: #d7dde3; --wash: #f3f5f7;
  --wrong: #b3261e; --good: #e9f6ef; --bad: #fcebea; --warn: #fdf3e3; --none: #f0f2f4 }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e6ebf0; --muted: #a9b4bf; --line: #38424c;
  --wash: #1d242b; --wrong: #ff918d; --good: #16301f; --bad: #3d1a1b; --warn: #38301a; --none: #242a30 }
  html { background: #12161a } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2rem }
.verdict { padding: .7rem 1rem; border-left: 6px solid; margin: 1.2rem 0 }
.good { border-color: #1a7f4b; background: var(--good) }
.bad { border-color: #b3261e; background: var(--bad) }
.wide { overflow-x: auto } th { text-align: left }
table { border-collapse: collapse; width: 100%; font-size: .88rem }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
code, pre { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--wash); padding: .7rem 1rem; white-space: pre-wrap } .wrong { color: var(--wrong) }
@media print { :root { color-scheme: light } body { margin: 0 } }
"""


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; whatever is in a cell stands there as text."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def written(time: datetime | None) -> str:
    """A time in UTC; nothing where there is none."""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time is not None else ""
