"""The summary and the claims that it must bear out."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from control_plane.audit.archive import LakeArchive
from control_plane.audit.replay import replay
from control_plane.audit.verify import verify_site
from control_plane.audit.witness import WITNESS_NAME
from control_plane.registry.mlflow_registry import ModelRegistry
from control_plane.release.image import ImageRepository
from control_plane.sinks.lake import LakeReader
from demo.settings import Demo
from demo.summary import Row, bad_values, count_records, fault_found, misattributed
from edge_agent.update import ModelSlots
from shared.checkpoint import parse_verifier_key
from shared.errors import PmStackError


class Claim(NamedTuple):
    """Something the demo promises, what was counted, and whether it held (None: not reached)."""

    text: str
    found: str
    held: bool | None


def summarise(
    demo: Demo, sites: list[str], restarts: dict[str, int], killed: list[str]
) -> tuple[Row, list[Claim]]:
    """Everything counted from what the parts stored, and the claims over it."""
    lake = LakeReader(demo.centre.lake)
    wrong, compared = misattributed(demo, sites, lake)
    models = _models(demo, sites)
    summary: Row = {
        "sites": sites,
        **count_records(demo, sites),
        "misattributed": wrong,
        "values_compared": compared,
        "bad_values": bad_values(lake),
        "predictions": lake.rows("SELECT count(*) AS n FROM predictions")[0]["n"],
        "alerts": fault_found(demo, sites, lake),
        "model": next((m for m in models if m["component_type"] == "coolant_pump"), None),
        "models": models,
        "audit": _audit(demo, sites, lake),
        "replay": _replay(demo, lake),
        "restarts": restarts,
        "killed": killed,
    }
    return summary, _claims(summary)


def _claims(s: Row) -> list[Claim]:
    fault = s["alerts"]["fault"]
    found = "not reached" if fault is None else f"{fault['component']}: {fault['delay_cycles']} cycles later"
    detected = None if fault is None else fault["delay_cycles"] is not None
    lost = f"{s['records_in_lake']} of {s['records_committed']} in the lake, {s['lost']} lost"
    if s["lost"] and "broker" in s["restarts"]:
        lost += " (the in-memory broker died and forgot them; a broker on disk would not have)"
    entries = sum(site["entries"] for site in s["audit"].values())
    ended = f"{', '.join(s['killed'])} had to be killed" if s["killed"] else "all within their deadline"
    return [
        Claim("every committed record is in the lake", lost, s["lost"] == 0 and s["records_committed"] > 0),
        Claim("none is there twice", f"{s['duplicates']} duplicates", s["duplicates"] == 0),
        Claim(
            "every number is the one the plant served, bit for bit",
            f"{s['misattributed']} of {s['values_compared']} differ",
            s["misattributed"] == 0 and s["values_compared"] > 0,
        ),
        Claim("the agents scored", f"{s['predictions']} predictions", s["predictions"] > 0),
        Claim("the injected fault led to an alert", found, detected),
        Claim(
            "registry, signed target and agents hold the same model",
            ", ".join(f"{m['name']}/{m['version']} {m['sha256'][:12]}" for m in s["models"]),
            bool(s["models"]) and all(m["equal"] for m in s["models"]),
        ),
        Claim(
            "every site's audit log verifies",
            f"{entries} entries",
            bool(s["audit"]) and all(site["verified"] for site in s["audit"].values()),
        ),
        Claim(
            "a prediction can be computed again from its record",
            str(s["replay"].get("prediction_id", s["replay"].get("problem"))),
            s["replay"]["bit_exact"],
        ),
        Claim("every part ended in order when told to", ended, not s["killed"]),
    ]


def report(console: Console, claims: list[Claim], summary: Path) -> None:
    """Print what held and what did not."""
    table = Table("", "claim", "counted")
    marks = {True: "[green]held[/]", False: "[red]FAILED[/]", None: "[yellow]not reached[/]"}
    for claim in claims:
        table.add_row(marks[claim.held], claim.text, claim.found)
    console.print(table)
    console.print(f"all figures: {summary}")


def _models(demo: Demo, sites: list[str]) -> list[Row]:
    """Each registered model and its SHA-256 at the registry, at the signed target and at each agent."""
    targets = ImageRepository(demo.centre.repository).targets()
    running = {site: ModelSlots(demo.site(site), demo.site(site) / "trust").committed()[0] for site in sites}
    rows = []
    for entry in ModelRegistry(demo.centre.tracking_uri).registered():
        target = targets.get(f"{entry.name}/{entry.version}/model.onnx")
        agents = {
            site: hashlib.sha256(release.model).hexdigest()
            for site, releases in running.items()
            for release in releases
            if (release.manifest.name, release.manifest.version) == (entry.name, entry.version)
        }
        signed = target.hashes["sha256"] if target else None
        rows.append(
            {
                "component_type": entry.name,
                "name": entry.name,
                "version": entry.version,
                "sha256": entry.sha256,
                "registry": entry.sha256,
                "tuf_target": signed,
                "agents": agents,
                "equal": set(agents) == set(sites) and {entry.sha256, signed, *agents.values()} == {signed},
            }
        )
    return rows


def _audit(demo: Demo, sites: list[str], lake: LakeReader) -> Row:
    archive, store = LakeArchive(lake), demo.centre.store()
    witness_key = demo.centre.witness_key().verifier(WITNESS_NAME)
    found = {}
    for site in sites:
        key = store.audit_key(site)
        if key is None:
            found[site] = {"entries": 0, "checkpoints": 0, "verified": False, "problems": ["never called"]}
            continue
        notes = [path.read_text() for path in (demo.centre.witness / site).glob("*.note")]
        result = verify_site(archive, site, parse_verifier_key(key), notes, witness_key)
        found[site] = {
            "entries": result.entries,
            "checkpoints": result.checkpoints,
            "witnessed": result.witnessed,
            "uncovered": result.uncovered,
            "verified": result.verified,
            "problems": result.problems,
        }
    return found


def _replay(demo: Demo, lake: LakeReader) -> Row:
    """The newest prediction, computed again."""
    newest = lake.rows("SELECT prediction_id FROM predictions ORDER BY timestamp DESC, seq DESC LIMIT 1")
    if not newest:
        return {"bit_exact": False, "problem": "no prediction in the lake"}
    prediction_id = newest[0]["prediction_id"]
    try:
        result = replay(LakeArchive(lake), prediction_id, ModelRegistry(demo.centre.tracking_uri).by_sha256)
    except PmStackError as error:
        return {"prediction_id": prediction_id, "bit_exact": False, "problem": str(error)}
    return {"prediction_id": prediction_id, "model": result.model, "bit_exact": result.bit_exact}
