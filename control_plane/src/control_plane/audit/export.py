"""A folder for an inspector: a site's record with all that is needed to check it elsewhere.

    report.html            what was checked, and the commands that check it again
    keys.json              the public keys: the site's, the witness's
    audit/SITE/            the log as C2SP tlog-tiles, under a co-signed checkpoint
    checkpoints/           every checkpoint of the site that arrived; co-signed/: those the centre signed too
    entries.jsonl          every entry as it arrived, one a line (what the tiles hold, to read)
    proofs/                proofs of the newest predictions, the site's and those that the centre's inference
                           made of it, each with its entry
    audit_log.parquet, .sqlite   the same entries, and the centre's own predictions of the site, as a table

Enters: the centre's folder. Leaves: files. Never: a private key, a verdict that was not computed here.
"""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from control_plane.audit.archive import LakeArchive
from control_plane.audit.evidence import WITNESS_KEY, keys_on_file, verify_centre, verify_folder
from control_plane.audit.inference_log import INFERENCE_LOG
from control_plane.audit.proofs import check_prediction, prove
from control_plane.audit.query import Question, Row, ask, write
from control_plane.audit.report import report
from control_plane.audit.tiles import TileStore, read_alone
from control_plane.audit.verify import SiteVerification
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import VerifierKey
from shared.errors import ConfigError, Rejected
from shared.schemas import utc_now

PROOFS_MAX = 20  # a log: of the newest predictions under a co-signed checkpoint


@dataclass(frozen=True)
class Checked:
    """A prediction whose proof lies in the folder; `problem` is the step that did not hold, or None."""

    row: Row
    problem: str | None


@dataclass(frozen=True)
class Export:
    """What an export holds and what was checked of it."""

    site: str
    made: datetime
    keys: dict[str, VerifierKey]
    logs: list[SiteVerification]
    proofs: list[Checked]
    rows: list[Row]

    @property
    def verified(self) -> bool:
        """Every log that was read holds, and every proof."""
        return all(log.verified for log in self.logs) and all(not each.problem for each in self.proofs)


def export(layout: Layout, site: str, folder: Path) -> Export:
    """Write the folder, which must not be there yet; ConfigError where it is, Rejected for a site of which
    nothing has been co-signed. What does not hold is in the report, not raised."""
    keys = {
        name: key for name, key in keys_on_file(layout).items() if name in (site, INFERENCE_LOG, WITNESS_KEY)
    }
    if site not in keys:
        raise Rejected(f"no verifier key of {site} is on file: it has never called")
    if TileStore(layout.tiles / site).checkpoint() is None:
        raise Rejected(f"nothing of {site} has been co-signed yet; ingest does so as checkpoints arrive")
    if folder.exists():
        raise ConfigError(str(folder), ["is there already; give the name of a new folder"])
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    made = _fill(layout, site, keys, unfinished)
    unfinished.rename(folder)
    return made


def _fill(layout: Layout, site: str, keys: dict[str, VerifierKey], folder: Path) -> Export:
    (folder / "keys.json").write_text(json.dumps({name: str(key) for name, key in keys.items()}, indent=2))
    _copy_log(layout, site, folder)
    rows = ask(layout, Question(site=site))
    for name in ("audit_log.parquet", "audit_log.sqlite"):
        write(rows, folder / name)
    own = INFERENCE_LOG if any(row["log"] == INFERENCE_LOG for row in rows) else None
    logs = [*verify_centre(layout, keys, site), *(verify_centre(layout, keys, own) if own else ())]
    logs += verify_folder(folder / "audit", keys, site)
    (folder / "proofs").mkdir()
    proofs = [each for log in (site, own) if log for each in _prove(layout, log, rows, folder / "proofs")]
    made = Export(site, utc_now(), keys, logs, proofs, rows)
    (folder / "report.html").write_text(report(made))
    return made


def _copy_log(layout: Layout, site: str, folder: Path) -> None:
    archive, own = LakeArchive(LakeReader(layout.lake)), layout.own_logs().get(site)
    with read_alone(layout.tiles / site):
        shutil.copytree(layout.tiles / site, folder / "audit" / site)
    with (folder / "entries.jsonl").open("wb") as file:
        leaves = archive.leaves(site) if own is None else own.leaves()
        file.writelines(leaf.data + b"\n" for leaf in leaves)
    _write_notes(folder / "checkpoints", archive.checkpoints(site) if own is None else own.checkpoints())
    co_signed = sorted((layout.witness / site).glob("*.note"), key=lambda path: int(path.stem))
    _write_notes(folder / "co-signed", [path.read_text() for path in co_signed])


def _write_notes(folder: Path, notes: list[str]) -> None:
    folder.mkdir()
    for number, note in enumerate(notes, 1):
        (folder / f"{number:06d}.note").write_text(note)


def _prove(layout: Layout, log: str, rows: list[Row], folder: Path) -> list[Checked]:
    """Write proofs of a log's newest predictions that are covered, and check each against its window too."""
    store, found = TileStore(layout.tiles / log), list[Checked]()
    size = store.size
    for row in rows:
        covered = row["log"] == log and row["event"] == "prediction" and row["index"] < size
        if not covered or len(found) == PROOFS_MAX:
            continue
        try:
            proof = prove(store, row["index"]).text
        except Rejected as error:
            found.append(Checked(row, str(error)))
            continue
        (folder / f"{row['prediction_id']}.tlog-proof").write_text(proof)
        wrong = [step for step in check_prediction(layout, row["prediction_id"]).steps if not step.ok]
        found.append(Checked(row, f"{wrong[0].what}: {wrong[0].detail}" if wrong else None))
    return found
