"""`control-plane dlq`: dead letters, listed and put back."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from control_plane.commands.options import Json
from control_plane.ingest import replay as letters_of
from control_plane.ingest.replay import Letter, read_letters
from shared.command_line import console
from shared.errors import ConfigError
from shared.kafka_client import VARIABLE, KafkaClientSettings, load_client_settings
from shared.schemas import TOPICS

app = typer.Typer(no_args_is_help=True)

Kafka = Annotated[str, typer.Option(envvar="PM_KAFKA", help="HOST:PORT of a broker")]
ClientConfig = Annotated[
    Path | None, typer.Option(envvar=VARIABLE, help="file of librdkafka's TLS and SASL settings")
]
Topic = Annotated[str | None, typer.Option(help="one topic only, for example telemetry_raw")]
KAFKA = "127.0.0.1:9092"


@app.command("list")
def list_(
    kafka: Kafka = KAFKA,
    kafka_client_config: ClientConfig = None,
    topic: Topic = None,
    as_json: Json = False,
) -> None:
    """What could not be read, oldest first: where it came from, why it is here, since when.

    Example: control-plane dlq list --kafka 127.0.0.1:9092 --topic telemetry_raw
    """
    letters = _read(kafka, load_client_settings(kafka_client_config), topic)
    if as_json:
        now_ms = time.time() * 1000
        print(json.dumps([asdict(each) | {"age_s": _age_s(each, now_ms)} for each in letters]))
    else:
        _show(letters)


@app.command()
def replay(
    kafka: Kafka = KAFKA,
    kafka_client_config: ClientConfig = None,
    topic: Topic = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="only this letter, as `list` names it; may be repeated")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put letters back on their topics, for the ingest that runs; exit 1 when one could not be.

    Each goes back once: what went back is marked. A record that is in the lake already is dropped there,
    and one that still cannot be read becomes a new letter.

    Example: control-plane dlq replay --kafka 127.0.0.1:9092 --topic telemetry_raw
    """
    client = load_client_settings(kafka_client_config)
    letters = _chosen(_read(kafka, client, topic), origin or [])
    waiting = [each for each in letters if not each.replayed]
    done = letters_of.replay(kafka, client, waiting)
    shown = track(
        done, "letters", len(waiting), console=Console(stderr=True), disable=not sys.stderr.isatty()
    )
    failed = {letter.origin: reason for letter, reason in shown if reason}
    counts = {
        "replayed": len(waiting) - len(failed),
        "before": len(letters) - len(waiting),
        "failed": failed,
    }
    if as_json:
        print(json.dumps(counts))
    else:
        print(f"{counts['replayed']} put back, {counts['before']} were put back before, {len(failed)} failed")
        for place, reason in failed.items():
            print(f"  {place}: {reason}")
    raise typer.Exit(1 if failed else 0)


def _read(kafka: str, client: KafkaClientSettings, topic: str | None) -> list[Letter]:
    if topic is not None and topic not in TOPICS:
        raise ConfigError("--topic", [f"found {topic!r}; there are {', '.join(TOPICS)}"])
    return read_letters(kafka, client, [topic] if topic else TOPICS)


def _chosen(letters: list[Letter], origins: list[str]) -> list[Letter]:
    unknown = set(origins) - {each.origin for each in letters}
    if unknown:
        raise ConfigError(
            "--origin", [f"no letter is from {name}; `dlq list` names them" for name in unknown]
        )
    return [each for each in letters if not origins or each.origin in origins]


def _show(letters: list[Letter]) -> None:
    table = Table("origin", "key", "schema", "store, row", "age", "replayed", "reason")
    now_ms = time.time() * 1000
    for each in letters:
        row = f"{each.store_id} {each.seq}"
        age, replayed = _age(_age_s(each, now_ms)), "yes" if each.replayed else "no"
        cells = (each.origin, each.key, each.schema, row, age, replayed, each.reason)
        table.add_row(*map(escape, cells))
    console().print(table)


def _age_s(letter: Letter, now_ms: float) -> int:
    return max(0, round((now_ms - letter.put_ms) / 1000))


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
