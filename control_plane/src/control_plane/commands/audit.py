"""`control-plane audit`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.audit.archive import LakeArchive
from control_plane.audit.replay import replay as recompute
from control_plane.audit.verify import SiteVerification, verify_site
from control_plane.audit.witness import WITNESS_NAME
from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import VerifierKey, parse_verifier_key
from shared.command_line import console
from shared.errors import ConfigError, Retryable

app = typer.Typer(no_args_is_help=True)

LIMIT_MAX = 10_000
CENTRE_KEY = "centre"  # the name of the centre's own log in a file of keys, as "witness" is the witness's


@app.command()
def verify(
    data_dir: DataDir,
    keys: Annotated[
        Path | None, typer.Option(help="your own JSON file of keys, as `audit keys` prints it")
    ] = None,
    site: Annotated[str | None, typer.Option(help="one site only")] = None,
    as_json: Json = False,
) -> None:
    """Recompute every site's log and the centre's own, and hold their checkpoints against them; exit 1
    when anything is wrong.

    With --keys, nothing that this machine says of keys is believed.

    Example: control-plane audit verify --data-dir data --keys keys-noted-at-enrolment.json
    """
    layout = Layout(data_dir)
    archive = LakeArchive(LakeReader(layout.lake))
    public = _read_keys(keys) if keys else _keys_on_file(layout)
    sites = [site] if site else _sites(archive, layout)
    results = [_verify(archive, name, public, layout.witness) for name in sites]
    if site is None and (CENTRE_KEY in public or layout.has_centre_log):
        results.append(layout.centre_log().verify(public.get(CENTRE_KEY)))
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
    print(json.dumps({name: str(key) for name, key in _keys_on_file(Layout(data_dir)).items()}, indent=2))


@app.command()
def query(
    data_dir: DataDir,
    site: Annotated[str | None, typer.Option()] = None,
    event: Annotated[str | None, typer.Option(help="for example model_committed")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX)] = 20,
    as_json: Json = False,
) -> None:
    """The newest entries of the logs.

    Example: control-plane audit query --data-dir data --site TX01 --event model_committed
    """
    sql = """SELECT site_id, "index", timestamp, event, subject, body FROM audit
        WHERE ($site IS NULL OR site_id = $site) AND ($event IS NULL OR event = $event)
        ORDER BY timestamp DESC, "index" DESC LIMIT $limit"""
    rows = LakeReader(Layout(data_dir).lake).rows(sql, site=site, event=event, limit=limit)
    if as_json:
        print(json.dumps([json.loads(row["body"]) for row in rows]))
        return
    table = Table("site", "entry", "time (UTC)", "event", "subject")
    for row in rows:
        time = f"{row['timestamp']:%Y-%m-%d %H:%M:%S}"
        table.add_row(row["site_id"], str(row["index"]), time, row["event"], row["subject"])
    console().print(table)


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


@app.command()
def replay(
    prediction_id: Annotated[str, typer.Argument(help="as a prediction's record names it")],
    data_dir: DataDir,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="default: mlflow.db in --data-dir")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute a prediction again from its record; exit 1 when it is not the same within tolerance.

    Example: control-plane audit replay 3f0c... --data-dir data
    """
    from control_plane.registry.mlflow_registry import ModelRegistry

    layout = Layout(data_dir)
    registry = ModelRegistry(tracking_uri or layout.tracking_uri)
    result = recompute(LakeArchive(LakeReader(layout.lake)), prediction_id, registry.by_sha256)
    answer = "bit-exact" if result.bit_exact else f"differs: {result.differences}"
    print(json.dumps(asdict(result)) if as_json else f"{prediction_id} by {result.model}: {answer}")
    raise typer.Exit(0 if result.within_tolerance else 1)


def _sites(archive: LakeArchive, layout: Layout) -> list[str]:
    """Sites whose entries have arrived; none yet where the centre itself has acted and no site has."""
    try:
        return archive.sites()
    except Retryable:
        if layout.has_centre_log:
            return []
        raise


def _verify(
    archive: LakeArchive, site: str, public: dict[str, VerifierKey], witness: Path
) -> SiteVerification:
    if site not in public:
        missing = SiteVerification(site)
        missing.note("no verifier key is known for this site")
        return missing
    notes = sorted((witness / site).glob("*.note"), key=lambda p: int(p.stem))
    return verify_site(archive, site, public[site], [n.read_text() for n in notes], public.get("witness"))


def _keys_on_file(layout: Layout) -> dict[str, VerifierKey]:
    found = {site["site_id"]: parse_verifier_key(site["audit_key"]) for site in layout.store().sites()}
    own = {CENTRE_KEY: layout.centre_log().verifier} if layout.has_centre_log else {}
    return {**found, **own, "witness": layout.witness_key().verifier(WITNESS_NAME)}


def _read_keys(path: Path) -> dict[str, VerifierKey]:
    try:
        return {site: parse_verifier_key(text) for site, text in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(str(path), [f'cannot be read as {{"site": "verifier key"}}: {error}']) from error


def _show(results: list[SiteVerification]) -> None:
    table = Table("site", "entries", "checkpoints", "co-signed", "not yet covered", "verdict")
    for r in results:
        verdict = (
            "[green]verified[/]" if r.verified else f"[red]{r.problems[0] if r.problems else 'empty'}[/]"
        )
        counts = [str(n) for n in (r.entries, r.checkpoints, r.witnessed, r.uncovered)]
        table.add_row(r.site, *counts, verdict)
    console().print(table)
