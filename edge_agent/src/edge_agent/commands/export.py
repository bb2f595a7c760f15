"""`edge-agent export`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from edge_agent.audit.log import origin
from edge_agent.bundle import Exported, OutboxFile, Signer
from edge_agent.bundle import export as write_bundles
from edge_agent.outbox.gaps import runs
from shared.errors import ConfigError
from shared.log_key import LogKey
from shared.reactor_config import load_fleet


def export(
    *,
    config: Annotated[Path, typer.Option(envvar="EDGE_CONFIG", help="The fleet's reactor_config.yaml")],
    site: Annotated[str, typer.Option(envvar="EDGE_SITE", help="This site's id in it")],
    data_dir: Annotated[Path, typer.Option(envvar="EDGE_DATA_DIR", help="of the agent, which may run")],
    since: Annotated[str, typer.Option(help="source time, for example 2026-03-01T12:00:00Z")],
    to: Annotated[Path, typer.Option(help="folder; bundles that are in it already are not made again")],
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """Write committed records as signed bundles, for a courier or a one-way gateway.

    Records that Kafka acknowledged are in, as long as the outbox keeps them; none counts as delivered by
    this. A record that does not fit its checksum is left out and named. The centre takes them with
    `control-plane import`, and drops what it has already. The key that is printed is what it checks them
    with: where the site has never called, bring it by another way.

    Example: edge-agent export --config reactor_config.yaml --site TX01 --data-dir /var/lib/edge-agent
    --since 2026-03-01T00:00:00Z --to /media/courier
    """
    fleet = load_fleet(config)
    if site not in fleet.sites:
        raise ConfigError("--site", [f"found {site!r}; {config} has {', '.join(fleet.sites)}"])
    key = data_dir / "audit.pem"
    if not key.exists():
        raise ConfigError(
            "--data-dir", [f"no audit.pem in {data_dir}: the agent makes it at its first start"]
        )
    signer = Signer(site, fleet.hash(), origin(site), LogKey.load_or_create(key))
    start = _time(since)
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
    with OutboxFile(data_dir / "outbox.db") as outbox, bar:
        task = bar.add_task("rows", total=sum(part.size for part in outbox.parts(start)))
        done = write_bundles(outbox, start, to, signer, lambda rows: bar.advance(task, rows))
    if as_json:
        found = {"bundles": [str(path) for path in done.bundles], "rows": done.rows}
        found |= {"rows_there": done.rows_there, "key": str(signer.verifier), "corrupt": _by_store(done)}
        print(json.dumps(found))
        return
    for path in done.bundles:
        print(path)
    print(f"{done.rows} rows in {len(done.bundles)} new bundles; {done.rows_there} rows were there before")
    for store_id, spans in _by_store(done).items():
        rows = sum(last - first + 1 for first, last in spans)
        named = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans)
        print(f"left out, not what was committed: {rows} rows of store {store_id}: {named}")
    print(f"signed with {signer.verifier}")


def _by_store(done: Exported) -> dict[str, list[tuple[int, int]]]:
    """The rows left out, as unbroken runs."""
    stores = dict.fromkeys(store_id for store_id, _ in done.corrupt)
    return {
        store_id: runs(sorted(row for found, row in done.corrupt if found == store_id)) for store_id in stores
    }


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "--since", [f"found {text!r}; expected a time like 2026-03-01T12:00:00Z"]
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
