"""`edge-agent alarm`."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from edge_agent.commands.buffer import DataDirOption
from edge_agent.commands.check import JsonOption
from edge_agent.outbox.reader import OutboxReader
from shared.command_line import console
from shared.config_errors import describe
from shared.errors import ConfigError, Rejected, Retryable
from shared.schemas import Alert, utc_now

ID_CHARS_SHOWN = 8
LOOK_S = 0.05  # between two looks for the agent's answer
HOURS_MAX = 12.0  # as the agent's own bound

app = typer.Typer(no_args_is_help=True)
AlertArgument = Annotated[
    str, typer.Argument(help="the alert's id, or how it begins (4 characters at least)")
]
OperatorOption = Annotated[str, typer.Option("--by", help="who: it goes on the record and to the centre")]
ReasonOption = Annotated[str, typer.Option(help="why: it goes on the record and to the centre")]
WaitOption = Annotated[float, typer.Option(min=0, max=600, help="for the agent's answer")]


@app.callback()
def _group() -> None:
    """Alarms of this site that stand, are latched or are shelved, and what an operator does about them."""


@app.command(name="list")
def list_(*, data_dir: DataDirOption, as_json: JsonOption = False) -> None:
    """The alerts that stand, are latched or are shelved. Safe while the agent runs, and when it does not.

    Example: edge-agent alarm list --data-dir /var/lib/edge-agent
    """
    alarms = _alarms(data_dir)
    if as_json:
        print(json.dumps(alarms))
        return
    if not alarms:
        print("no alarm stands, is latched or is shelved")
        return
    table = Table("alert", "event", "component", "severity", "state", "since", "what")
    for alarm in alarms:
        ids = (alarm["alert_id"][:ID_CHARS_SHOWN], alarm["event_id"][:ID_CHARS_SHOWN])
        words = (alarm["component"], alarm["severity"], _state(alarm), alarm["raised_at"], alarm["message"])
        table.add_row(*ids, *(escape(word) for word in words))
    console().print(table)


@app.command()
def shelve(
    alert: AlertArgument,
    *,
    data_dir: DataDirOption,
    operator: OperatorOption,
    reason: ReasonOption,
    hours: Annotated[float, typer.Option(min=0.01, max=HOURS_MAX, help="it is unshelved by itself then")],
    wait_s: WaitOption = 10.0,
) -> None:
    """Put an alert aside for some hours, by name and with a reason. It comes back when it grows graver.

    Example: edge-agent alarm shelve 3f2a91c0 --data-dir /var/lib/edge-agent --by "A. Reyes"
    --reason "transmitter is being replaced, work order 4711" --hours 4
    """
    _ask("shelve", alert, data_dir, operator, reason, wait_s, hours)


@app.command()
def unshelve(
    alert: AlertArgument,
    *,
    data_dir: DataDirOption,
    operator: OperatorOption,
    reason: ReasonOption = "no longer needed",
    wait_s: WaitOption = 10.0,
) -> None:
    """End a shelving: the alert stands again, unless it has cleared meanwhile.

    Example: edge-agent alarm unshelve 3f2a91c0 --data-dir /var/lib/edge-agent --by "A. Reyes"
    """
    _ask("unshelve", alert, data_dir, operator, reason, wait_s)


@app.command()
def reset(
    alert: AlertArgument,
    *,
    data_dir: DataDirOption,
    operator: OperatorOption,
    reason: ReasonOption = "looked into",
    wait_s: WaitOption = 10.0,
) -> None:
    """Clear a latched alert that has returned to normal; refused while its condition holds.

    Example: edge-agent alarm reset 3f2a91c0 --data-dir /var/lib/edge-agent --by "A. Reyes"
    """
    _ask("reset", alert, data_dir, operator, reason, wait_s)


@app.command()
def hygiene(*, data_dir: DataDirOption, as_json: JsonOption = False) -> None:
    """How often an operator is called, against EEMUA 191 and ISA-18.2, over all that the outbox still holds.

    Example: edge-agent alarm hygiene --data-dir /var/lib/edge-agent
    """
    from edge_agent.alarms.hygiene import IN_TEN_MINUTES_MAX, PER_TEN_MINUTES_MAX, measure

    alerts: list[Alert] = []
    first_ms = last_ms = None
    with OutboxReader(data_dir / "outbox.db") as reader:
        for seen in reader.rows(acknowledged=True):
            record = seen.row.record
            first_ms = record.time_ms if first_ms is None else min(first_ms, record.time_ms)
            last_ms = record.time_ms if last_ms is None else max(last_ms, record.time_ms)
            if record.schema == Alert.SCHEMA and seen.intact:
                alerts.append(Alert.model_validate_json(record.body))
    if first_ms is None or last_ms is None or first_ms == last_ms:
        raise ConfigError("--data-dir", [f"{data_dir} holds no records yet to measure over"])
    found = measure(alerts, timedelta(milliseconds=last_ms - first_ms))
    if as_json:
        print(json.dumps(found._asdict() | {"acceptable": found.acceptable}))
        return
    table = Table(f"over {found.hours:.1f} h", "found", "at most")
    table.add_row(
        "calls for an operator per 10 min, on average",
        f"{found.calls_per_ten_minutes:.2f}",
        f"{PER_TEN_MINUTES_MAX:g}",
    )
    table.add_row("in the worst 10 min", str(found.worst_ten_minutes), str(IN_TEN_MINUTES_MAX))
    table.add_row("chattering alerts", str(found.chattering), "0")
    table.add_row("standing for longer than a day", str(found.stale), "")
    table.add_row("calls, alerts, events", f"{found.calls}, {found.alerts}, {found.events}", "")
    console().print(table)


def _alarms(data_dir: Path) -> list[dict[str, Any]]:
    from edge_agent.line import NOTE_PREFIX
    from edge_agent.scoring import Noted, Phase, read_note

    def told(noted: Noted) -> dict[str, Any]:
        shown = {"alert_id", "event_id", "kind", "severity", "subject", "value", "threshold", "message"}
        return {
            "component": noted.last.key,
            **noted.last.model_dump(mode="json", include=shown),
            "state": "shelved" if noted.shelf else noted.phase.value,
            "condition": noted.phase.value,
            "raised_at": noted.raised_at.isoformat(timespec="seconds"),
            "shelved_by": noted.shelf.operator if noted.shelf else None,
            "shelved_for": noted.shelf.reason if noted.shelf else None,
            "shelved_until": noted.shelf.until.isoformat(timespec="seconds") if noted.shelf else None,
        }

    with OutboxReader(data_dir / "outbox.db") as reader:
        notes = [note for name, note in sorted(reader.notes().items()) if name.startswith(NOTE_PREFIX)]
    known = [noted for note in notes for noted in read_note(note)]
    return [told(noted) for noted in known if noted.shelf or noted.phase is not Phase.NORMAL]


def _state(alarm: dict[str, Any]) -> str:
    if alarm["state"] == "shelved":
        return f"shelved until {alarm['shelved_until']} by {alarm['shelved_by']}: {alarm['shelved_for']}"
    return "returned to normal, waits for reset" if alarm["state"] == "returned" else "stands"


def _ask(
    action: str,
    alert: str,
    data_dir: Path,
    operator: str,
    reason: str,
    wait_s: float,
    hours: float | None = None,
) -> None:
    from edge_agent.alarms import AlarmRequest, RequestSpool

    if not (data_dir / "outbox.db").exists():
        problem = f"no outbox.db in {data_dir}; expected the folder that the agent was given"
        raise ConfigError("--data-dir", [problem])
    now = utc_now()
    asked = {"action": action, "alert": alert, "operator": operator, "reason": reason, "asked_at": now}
    if hours is not None:
        asked["until"] = now + timedelta(hours=hours)
    try:
        request = AlarmRequest.model_validate(asked)
    except ValidationError as error:
        raise ConfigError(f"alarm {action}", describe(error)) from error
    _say(_answered(RequestSpool(data_dir), request, wait_s))


def _answered(spool: Any, request: Any, wait_s: float) -> dict[str, str]:
    spool.ask(request)
    end_s = time.monotonic() + wait_s
    while (answer := spool.answer_to(request)) is None:
        if time.monotonic() >= end_s:
            spool.withdraw(request)
            raise Retryable(
                f"no agent answered in {wait_s:g} s; the request is withdrawn. Does one run here?"
            )
        time.sleep(LOOK_S)
    return dict(answer)


def _say(answer: dict[str, str]) -> None:
    if "refused" in answer:
        raise Rejected(answer["refused"])
    print(f"done: {answer['done']}")
