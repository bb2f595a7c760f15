"""What verification reads: the lake, the files, co-signed notes, and the logs of the centre's own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane.audit.archive import LakeArchive
from control_plane.audit.inference_log import INFERENCE, INFERENCE_LOG, entry_problem
from control_plane.audit.tile_check import verify_tiles
from control_plane.audit.tiles import CHECKPOINT, TileStore, read_note
from control_plane.audit.verify import SiteVerification, site_entry_problem, verify_site
from control_plane.audit.witness import WITNESS_NAME
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import NoteError, VerifierKey, parse_verifier_key
from shared.errors import ConfigError, Retryable

CENTRE_KEY = "centre"  # the names, in a file of keys, of what is no site
WITNESS_KEY = "witness"

Keys = Mapping[str, VerifierKey]


def keys_on_file(layout: Layout) -> dict[str, VerifierKey]:
    """The keys as this machine has them: by site, and those of the centre's log and the witness."""
    found = {site["site_id"]: parse_verifier_key(site["audit_key"]) for site in layout.store().sites()}
    own = {CENTRE_KEY: layout.centre_log().verifier} if layout.has_centre_log else {}
    if layout.has_inference_log:
        own[INFERENCE_LOG] = layout.inference_log().verifier
    return {**found, **own, WITNESS_KEY: layout.witness_key().verifier(WITNESS_NAME)}


def read_keys(path: Path) -> dict[str, VerifierKey]:
    """The keys in a file as `audit keys` prints it; ConfigError when it is none."""
    try:
        return {site: parse_verifier_key(text) for site, text in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(str(path), [f'cannot be read as {{"site": "verifier key"}}: {error}']) from error


def verify_folder(
    folder: Path, keys: Keys, site: str | None = None, kept: Sequence[str] = ()
) -> list[SiteVerification]:
    """Verify logs that are files, a folder each, by keys alone; `kept` are notes that somebody else kept."""
    sites = [site] if site else sorted(path.name for path in folder.glob("*") if path.is_dir())
    if not sites:
        raise ConfigError(str(folder), ["holds no folder of a site"])
    return [_files(folder / name, name, keys, kept) for name in sites]


def verify_centre(
    layout: Layout, keys: Keys, site: str | None = None, kept: Sequence[str] = ()
) -> list[SiteVerification]:
    """Verify each site's log as the lake has it and as the files have it, and the centre's own two.

    `site` may be `INFERENCE_LOG`, which is there twice too: as the service keeps it, and as files.
    """
    if site == INFERENCE_LOG:
        return _inference(layout, keys, kept)
    archive = LakeArchive(LakeReader(layout.lake))
    results = []
    for name in [site] if site else _sites(archive, layout):
        results += _site(archive, layout, name, keys, kept)
    if site is None and (CENTRE_KEY in keys or layout.has_centre_log):
        results.append(layout.centre_log().verify(keys.get(CENTRE_KEY)))
    if site is None and (INFERENCE_LOG in keys or layout.has_inference_log):
        results += [found for found in _inference(layout, keys, kept) if not found.nothing]
    return results


def _inference(layout: Layout, keys: Keys, kept: Sequence[str]) -> list[SiteVerification]:
    """Both forms of the centre's inference log against the same notes."""
    key = keys.get(INFERENCE_LOG)
    if key is None:
        return [_refused(INFERENCE, "log", "no verifier key is known for this log")]
    folder = layout.tiles / INFERENCE_LOG
    try:
        notes = [*_notes(layout.witness / INFERENCE_LOG), *kept]
        files = TileStore(folder).checkpoint()
    except (NoteError, OSError) as error:
        return [_refused(INFERENCE, "tiles", f"{CHECKPOINT}: {error}")]
    of_files = [files] if files is not None else []
    log = layout.inference_log().verify(key, [*notes, *of_files], keys.get(WITNESS_KEY))
    if files is None and not notes:
        return [log]  # nothing has been co-signed yet
    return [log, _files(folder, INFERENCE_LOG, keys, notes)]


def _site(
    archive: LakeArchive, layout: Layout, site: str, keys: Keys, kept: Sequence[str]
) -> list[SiteVerification]:
    """Both forms of a site's log against the same notes: two that hold are the same log."""
    key = keys.get(site)
    if key is None:
        return [_refused(site, "lake", "no verifier key is known for this site")]
    try:
        notes = [*_notes(layout.witness / site), *kept]
        files = TileStore(layout.tiles / site).checkpoint()
    except (NoteError, OSError) as error:
        return [_refused(site, "tiles", f"{CHECKPOINT}: {error}")]
    try:
        of_files = [files] if files is not None else []
        lake = verify_site(archive, site, key, [*notes, *of_files], keys.get(WITNESS_KEY))
    except Retryable as error:
        lake = _refused(site, "lake", f"its entries cannot be read: {error}")
    if files is None and not notes:
        return [lake]  # nothing has been co-signed yet
    return [lake, _files(layout.tiles / site, site, keys, notes)]


def _files(folder: Path, site: str, keys: Keys, kept: Sequence[str]) -> SiteVerification:
    if site not in keys:
        return _refused(site, "tiles", "no verifier key is known for this site")
    name, problem_of = site, site_entry_problem(site)
    if site == INFERENCE_LOG:
        name, problem_of = INFERENCE, entry_problem
    return verify_tiles(folder, name, keys[site], keys.get(WITNESS_KEY), problem_of, kept)


def _refused(site: str, source: str, problem: str) -> SiteVerification:
    return SiteVerification(site, source, problems=[problem])


def _notes(folder: Path) -> list[str]:
    return [read_note(path) for path in sorted(folder.glob("*.note"), key=lambda path: int(path.stem))]


def _sites(archive: LakeArchive, layout: Layout) -> list[str]:
    """Sites with entries in the lake, files, or co-signed notes; none where the centre alone has acted."""
    kept = {
        path.name for folder in (layout.tiles, layout.witness) for path in folder.glob("*") if path.is_dir()
    } - {INFERENCE_LOG}
    try:
        return sorted({*archive.sites(), *kept})
    except Retryable:
        if kept or layout.has_centre_log or layout.has_inference_log:
            return sorted(kept)
        raise
