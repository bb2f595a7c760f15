"""An export's report: one page of HTML that needs no server, no script and nothing from elsewhere."""

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from control_plane.audit.inference_log import INFERENCE_LOG
from control_plane.report.html import STYLE, table

if TYPE_CHECKING:
    from control_plane.audit.export import Export

PROBLEMS_MAX = 20

_LIMITS = (
    "The log proves that entries stand in this order and were not changed since the checkpoint over them was "
    "signed. It does not prove that an input was true: a compromised site can log false readings.",
    "What a site deleted before the first checkpoint that the centre co-signed cannot be seen. Entries that "
    "are not yet covered stand in the table above.",
    "Times are those of the site's clock; each entry says whether the operating system held it synchronised.",
    "The keys in this folder come from the machine that made it. Compare them with keys that you noted "
    "before, or the checks say only that the folder agrees with itself.",
    "Entries of the log <code>inference</code> in the table are of the centre's own log. It holds what was "
    "asked of other sites too, so only the proofs of its newest entries are in this folder; it is checked as "
    "a whole at the centre with <code>control-plane audit verify --site inference</code>.",
)

_PLACES = {"lake": "the centre's tables", "log": "the service's own file", "tiles": "files at the centre"}


def report(made: "Export") -> str:
    """The page."""
    site = escape(made.site)
    kind, verdict = ("good", "Everything that was checked holds.") if made.verified else (
        "bad", "Something does not hold: see below.",
    )  # fmt: skip
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit record of {site}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>Audit record of {site}</h1>
<p>Exported {made.made:%Y-%m-%d %H:%M:%S} UTC by pm-stack-smr</p>
<p class="verdict {kind}"><strong>{verdict}</strong> Repeat the checks below on a machine that you trust.</p>
<h2>What was checked</h2>
{_logs(made)}
<h2>Repeat it</h2>
{_repeat(made)}
<h2>What is on the record</h2>
{_counts(made)}
<h2>Proofs in this folder</h2>
{_proofs(made)}
<h2>Public keys</h2>
{table(("of", "verifier key"), ((name, str(key)) for name, key in made.keys.items()))}
<h2>What this does not show</h2>
<ul>{"".join(f"<li>{limit}</li>" for limit in _LIMITS)}</ul>
</body></html>
"""


def _repeat(made: "Export") -> str:
    an_id = escape(str(made.proofs[0].row["prediction_id"])) if made.proofs else "ID"
    columns = "timestamp, component, model_name, predicted_rul"
    commands = {
        "In this folder, with its files and public keys alone:": (
            f"control-plane audit verify --files audit --keys keys.json --site {escape(made.site)}\n"
            f"control-plane audit verify-proof proofs/{an_id}.tlog-proof --keys keys.json"
        ),
        "At the centre, the prediction computed again from its window, by the model of that SHA-256:": (
            f"control-plane audit replay {an_id} --data-dir DATA"
        ),
        "The log is C2SP tlog-tiles; any tool that reads the format can check it. The table answers SQL:": (
            f'sqlite3 audit_log.sqlite "SELECT {columns} FROM audit_log LIMIT 5"'  # noqa: S608 - to read
        ),
    }
    return "".join(f"<p>{told}</p><pre>{command}</pre>" for told, command in commands.items())


def _logs(made: "Export") -> str:
    heads = ("log", "read from", "entries", "checkpoints", "co-signed", "not yet covered", "verdict")
    places = [*(_PLACES.get(r.source, r.source) for r in made.logs[:-1]), "the files in this folder"]
    rows = [
        (r.site, place, r.entries, r.checkpoints, r.witnessed, r.uncovered,
         "holds" if r.verified else "DOES NOT HOLD")
        for r, place in zip(made.logs, places, strict=True)
    ]  # fmt: skip
    problems = [
        f"{place}: {problem}" for r, place in zip(made.logs, places, strict=True) for problem in r.problems
    ]
    wrong = "".join(f'<p class="wrong">{escape(problem)}</p>' for problem in problems[:PROBLEMS_MAX])
    steps = (
        "<p>Every entry was hashed again (RFC 6962), every checkpoint held against the entries under it and "
        "against its signatures; once as the centre's tables, or the service, have the log, once at the "
        "centre as files, and the site's once as the files in this folder.</p>"
    )
    return steps + table(heads, rows) + wrong


def _counts(made: "Export") -> str:
    found = Counter((row["log"], row["event"]) for row in made.rows)
    names = {INFERENCE_LOG: "inference (the centre's)"}
    return table(
        ("log", "event", "entries"),
        ((names.get(log, log), event, number) for (log, event), number in sorted(found.items())),
    )


def _proofs(made: "Export") -> str:
    heads = ("time (UTC)", "component", "prediction", "model", "RUL, cycles", "verdict")
    return table(heads, (_proof(each.row, each.problem) for each in made.proofs))


def _proof(row: dict[str, object], problem: str | None) -> tuple[object, ...]:
    rul = row["predicted_rul"]
    shown = f"{rul:.1f}" if isinstance(rul, float) else row["rul_state"]
    model = f"{row['model_name']}/{row['model_version']}"
    time = f"{row['timestamp']:%Y-%m-%d %H:%M:%S}"
    return time, row["subject"], row["prediction_id"], model, shown, problem or "holds"
