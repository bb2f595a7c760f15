"""`control-plane import`."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from control_plane.commands.options import DataDir, Json
from control_plane.ingest.bundles import (
    FileDeadLetters,
    KeyOf,
    Publisher,
    bundle_files,
    messages,
    read_bundle,
)
from control_plane.ingest.intake import Intake
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.progress import FILE_NAME, Progress
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from shared.bundle import Bundle
from shared.checkpoint import NoteError, VerifierKey, parse_verifier_key
from shared.command_line import console
from shared.errors import ConfigError, Rejected, Retryable, Untrusted
from shared.kafka_client import VARIABLE, KafkaClientSettings, load_client_settings

SITE_KEY = "pm-stack-smr/"  # begins the name of a site's key

Row = dict[str, Any]
Take = Callable[[Bundle, Path], Row]


def import_(
    folder: Annotated[Path, typer.Argument(help="with the bundles that `edge-agent export` wrote")],
    data_dir: DataDir,
    kafka: Annotated[
        str | None, typer.Option(help="HOST:PORT: give the records to the ingest that runs, by way of Kafka")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="verifier keys, a line each, of sites that have never called")
    ] = None,
    kafka_client_config: Annotated[
        Path | None, typer.Option(envvar=VARIABLE, help="file of librdkafka's TLS and SASL settings")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take the records of signed bundles that sites exported; exit 1 when one is refused.

    What is here already, by Kafka or by an earlier import, is dropped as a repeat: importing twice
    changes nothing. A bundle that fails a check is refused as a whole.

    One process writes to the lake, because what is new is decided in its memory. So while ingest runs,
    use --kafka: the records take the same way as all others. Without it they go straight to the lake
    (not to InfluxDB), and nobody else may be writing to it.

    Example: control-plane import /media/courier --data-dir data --kafka 127.0.0.1:9092
    """
    files = bundle_files(folder)
    if not files:
        raise ConfigError(str(folder), ["holds no file that ends in .bundle"])
    layout = Layout(data_dir)
    key_of = _keys(layout, key)
    client = load_client_settings(kafka_client_config if kafka else None)
    with _way(layout, kafka, client) as take:
        shown = track(files, "bundles", console=Console(stderr=True), disable=not sys.stderr.isatty())
        rows = [_import_one(path, key_of, take) for path in shown]
    if as_json:
        print(json.dumps(rows))
    else:
        _show(rows)
    raise typer.Exit(1 if any(row["refused"] for row in rows) else 0)


def _import_one(path: Path, key_of: KeyOf, take: Take) -> Row:
    found: Row = {"bundle": path.name, "site": None, "rows": 0, "refused": None}
    try:
        bundle = read_bundle(path, key_of)
    except (Untrusted, Rejected) as error:
        return found | {"refused": str(error)}
    own = bundle.manifest
    return found | {"site": own.site_id, "rows": own.rows, **take(bundle, path)}


@contextmanager
def _way(layout: Layout, kafka: str | None, client: KafkaClientSettings) -> Iterator[Take]:
    """What becomes of a bundle that was found good."""
    if kafka:
        publisher = Publisher(kafka, client)

        def publish(bundle: Bundle, path: Path) -> Row:
            publisher.publish(bundle, path)
            return {"sent": bundle.manifest.rows}

        yield publish
        return
    try:
        with lake_lock(layout.lake):
            yield _straight(layout)
    except Retryable as error:
        raise Retryable(f"{error}; give --kafka, so that it takes the records itself") from error


def _straight(layout: Layout) -> Take:
    lake = LakeWriter(layout.lake)
    lake.create()
    known = KnownRows(LakeReader(layout.lake).spans())
    intake = Intake([lake], known, Progress(layout.lake / FILE_NAME))
    letters = FileDeadLetters(layout.data_dir / "dead-letters.jsonl")

    def take(bundle: Bundle, path: Path) -> Row:
        repeats, aside = intake.repeats, intake.dead_letters
        intake.take(list(messages(bundle, path)), letters, threading.Event())
        intake.progress.save()
        repeats, aside = intake.repeats - repeats, intake.dead_letters - aside
        return {"new": bundle.manifest.rows - repeats - aside, "repeats": repeats, "set_aside": aside}

    return take


def _keys(layout: Layout, path: Path | None) -> KeyOf:
    """The key that a site first called with; where it never did, the one in the file."""
    store, given = layout.store(), _read_keys(path) if path else {}

    def key_of(site: str) -> VerifierKey | None:
        text = store.audit_key(site)
        found = parse_verifier_key(text) if text else given.get(site)
        if text and site in given and str(given[site]) != text:
            raise Untrusted(
                "bundle key", f"{path} has another key of {site} than the one it first called with"
            )
        return found if found is None or found.name == SITE_KEY + site else None

    return key_of


def _read_keys(path: Path) -> dict[str, VerifierKey]:
    try:
        keys = [parse_verifier_key(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, NoteError) as error:
        raise ConfigError(str(path), [f"cannot be read as verifier keys, a line each: {error}"]) from error
    return {key.name.removeprefix(SITE_KEY): key for key in keys}


def _show(rows: list[Row]) -> None:
    columns = [name for name in ("new", "repeats", "set_aside", "sent") if any(name in row for row in rows)]
    table = Table("bundle", "site", "rows", *(name.replace("_", " ") for name in columns), "")
    for row in rows:
        numbers = [str(row["rows"]), *(str(row.get(name, 0)) for name in columns)]
        verdict = f"[red]refused: {row['refused']}[/]" if row["refused"] else "[green]taken[/]"
        table.add_row(row["bundle"], row["site"] or "?", *numbers, verdict)
    console().print(table)
