"""The pages before the console: sign-in, password, own account. Plain HTML: no script, no websocket."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

_FOLDER = Path(__file__).parent / "templates"
_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from the template of that name; every value is escaped."""
    return HTMLResponse(_templates.get_template(f"{template}.html").render(**values), status)
