"""What every page that opens without a server has in common: its look, and tables whose cells are escaped."""

from collections.abc import Iterable
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2rem }
.verdict { padding: .7rem 1rem; border-left: 6px solid; margin: 1.2rem 0 }
.good { border-color: #1a7f4b; background: #e9f6ef } .bad { border-color: #b3261e; background: #fcebea }
table { border-collapse: collapse; width: 100%; font-size: .88rem } th { text-align: left }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #d7dde3; vertical-align: top }
code, pre { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: #f3f5f7; padding: .7rem 1rem; white-space: pre-wrap } .wrong { color: #b3261e }
@media print { body { margin: 0 } }
"""


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; whatever is in a cell stands there as text."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
