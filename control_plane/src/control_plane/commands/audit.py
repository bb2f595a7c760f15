"""`control-plane audit`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from control_plane.audit.evidence import Keys, keys_on_file, read_keys, verify_centre, verify_folder
from control_plane.audit.tiles import read_note
from control_plane.audit.verify import SiteVerification
from control_plane.commands.audit_proof import prove, verify_proof
from control_plane.commands.audit_record import export, query, replay
from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from shared.command_line import console
from shared.errors import ConfigError

app = typer.Typer(no_args_is_help=True)

app.command()(prove)
app.command("verify-proof")(verify_proof)
app.command()(query)
app.command()(replay)
app.command()(export)

LIMIT_MAX = 10_000
CentreFolder = Annotated[
    Path | None, typer.Option("--data-dir", envvar="PM_DATA_DIR", help="the centre's folder")
]
KeysFile = Annotated[Path | None, typer.Option(help="your own JSON file of keys, as `audit keys` prints it")]


@app.command()
def verify(
    data_dir: CentreFolder = None,
    keys: KeysFile = None,
    site: Annotated[
        str | None, typer.Option(help="one site only; or `centre` or `inference`, the centre's own logs")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="a copy of the centre's folder audit/; needs --keys and nothing else")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="one that you kept, as the site's witnessed.note; with --site")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every site's log and the centre's own, and hold their checkpoints against them; exit 1
    when anything is wrong.

    A site's log is there twice, in the lake and as files (C2SP tlog-tiles): both must hold; so are the
    centre's own two, its acts and its inference, as the services keep them and as files. With --keys,
    nothing that this machine says of keys is believed; with --files, nothing else is read.

    Example: control-plane audit verify --data-dir data --keys keys-noted-at-enrolment.json

    Example: control-plane audit verify --files copy-of-audit --keys keys-noted-at-enrolment.json
    """
    kept = [read_note(path) for path in checkpoint or []]
    if kept and site is None:
        raise ConfigError("--checkpoint", ["is of one site: name it with --site"])
    with Console(stderr=True).status("recomputing the logs ..."):
        if files is not None:
            results = verify_folder(files, _own_keys(keys), site, kept)
        else:
            layout = _layout(data_dir)
            results = verify_centre(layout, read_keys(keys) if keys else keys_on_file(layout), site, kept)
    if as_json:
        print(json.dumps([asdict(r) | {"verified": r.verified, "uncovered": r.uncovered} for r in results]))
    else:
        _show(results)
    raise typer.Exit(0 if results and all(r.verified for r in results) else 1)


@app.command("keys")
def show_keys(data_dir: DataDir) -> None:
    """Print the verifier keys on file, the witness's among them, as JSON: keep a copy of your own.

    Example: control-plane audit keys --data-dir data > keys-noted-at-enrolment.json
    """
    print(json.dumps({name: str(key) for name, key in keys_on_file(Layout(data_dir)).items()}, indent=2))


@app.command()
def acts(
    data_dir: DataDir,
    act: Annotated[str | None, typer.Option(help="for example approval_refused")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX)] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries of the centre's own log: what its people and services did and were refused.

    Example: control-plane audit acts --data-dir data --act approval_refused
    """
    layout = Layout(data_dir)
    entries = layout.centre_log().entries() if layout.has_centre_log else []
    found = [each for each in reversed(entries) if act in (None, each.act.value)][:limit]
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found]))
        return
    table = Table("entry", "time (UTC)", "act", "subject", "detail")
    for each in found:
        detail = ", ".join(f"{name}={value}" for name, value in each.detail.items())
        table.add_row(str(each.index), f"{each.timestamp:%Y-%m-%d %H:%M:%S}", each.act, each.subject, detail)
    console().print(table)


def _layout(data_dir: Path | None) -> Layout:
    if data_dir is None:
        raise ConfigError("audit verify", ["needs --data-dir, or --files and --keys"])
    return Layout(data_dir)


def _own_keys(keys: Path | None) -> Keys:
    if keys is None:
        raise ConfigError("--files", ["needs --keys: nothing that lies beside a log is believed of its keys"])
    return read_keys(keys)


def _show(results: list[SiteVerification]) -> None:
    table = Table("site", "read from", "entries", "checkpoints", "co-signed", "not yet covered", "verdict")
    for r in results:
        counts = [str(n) for n in (r.entries, r.checkpoints, r.witnessed, r.uncovered)]
        table.add_row(
            r.site, r.source, *counts, "[green]verified[/]" if r.verified else "[red]NOT VERIFIED[/]"
        )
    console().print(table)
    for r in results:
        for problem in r.problems or ([] if r.verified else ["no checkpoint covers any entry"]):
            print(f"{r.site}, {r.source}: {problem}")
