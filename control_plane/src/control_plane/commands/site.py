"""`control-plane site`."""

import json
from typing import Annotated

import typer
from rich.table import Table

from control_plane.commands.options import DataDir, Json
from control_plane.enrolment.register import SiteRow
from control_plane.layout import Layout
from shared.command_line import console

app = typer.Typer(no_args_is_help=True)
_COLOURS = {"enrolled": "green", "revoked": "red", "expired": "red"}


@app.callback()
def _group() -> None:
    """Which sites may call: one-time tokens, certificates, revocation."""


@app.command()
def token(
    site: Annotated[str, typer.Argument(help="for example TX01")], data_dir: DataDir, as_json: Json = False
) -> None:
    """Print a token that enrols the site once, within 24 hours, and the fingerprint of the authority.

    Both go to the site by a way it trusts. The site's director repository has to be there.

    Example: control-plane site token TX01 --data-dir data
    """
    layout = Layout(data_dir)
    fingerprint = layout.authority().fingerprint
    made, until = layout.enrolment(layout.register()).token(site)
    if as_json:
        print(json.dumps({"site": site, "token": made, "until": until, "ca_fingerprint": fingerprint}))
        return
    print(f"token           {made}\nuntil           {until}\nCA fingerprint  {fingerprint}")


@app.command("list")
def list_(data_dir: DataDir, as_json: Json = False) -> None:
    """Every site with a certificate or an open token.

    Example: control-plane site list --data-dir data
    """
    rows = Layout(data_dir).register().sites()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], default=str))
        return
    table = Table("site", "state", "enrolled", "certificate until")
    for row in rows:
        colour = _COLOURS.get(row.state, "yellow")
        table.add_row(row.site, f"[{colour}]{row.state}[/]", *_times(row))
    console().print(table)


@app.command()
def revoke(
    site: Annotated[str, typer.Argument(help="for example TX01")],
    data_dir: DataDir,
    why: Annotated[str, typer.Option(help="goes on the centre's record, and to the site")],
) -> None:
    """Shut a site out at once: streams end; fetches and renewals are refused. It can be enrolled again.

    Example: control-plane site revoke TX01 --why "laptop stolen" --data-dir data
    """
    layout = Layout(data_dir)
    held = layout.enrolment(layout.register()).revoke(site, why)
    print(f"{site}: {held} certificate{'' if held == 1 else 's'} revoked, open tokens withdrawn")


def _times(row: SiteRow) -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M} UTC" if time else "-" for time in (row.enrolled, row.expires)]
