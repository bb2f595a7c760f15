"""What verification reads: the lake, the files, co-signed notes, and the logs of the centre's own."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from control_plane.audit.archive import LakeArchive
from control_plane.audit.centre_log import CENTRE_LOG, CentreLog
from control_plane.audit.inference_log import INFERENCE_LOG, InferenceLog
from control_plane.audit.own_log import OwnLog
from control_plane.audit.tile_check import verify_tiles
from control_plane.audit.tiles import CHECKPOINT, TileStore, read_note
from control_plane.audit.verify import SiteVerification, site_entry_problem, verify_site
from control_plane.audit.witness import WITNESS_NAME
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.checkpoint import NoteError, VerifierKey, parse_verifier_key
from shared.errors import ConfigError, Retryable

WITNESS_KEY = "witness"  # its name in a file of keys, beside those of logs

Keys = Mapping[str, VerifierKey]

_OWN: dict[str, type[OwnLog]] = {CENTRE_LOG: CentreLog, INFERENCE_LOG: InferenceLog}


def keys_on_file(layout: Layout) -> dict[str, VerifierKey]:
    """The keys as this machine has them: by site, those of the centre's own logs, and the witness's."""
    found = {site["site_id"]: parse_verifier_key(site["audit_key"]) for site in layout.store().sites()}
    own = {name: log.verifier for name, log in layout.own_logs().items()}
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

    `site` may be one of these, `CENTRE_LOG` or `INFERENCE_LOG`: each is there twice too, as the services keep
    it, and as files.
    """
    if site in _OWN:
        return _own(layout, site, keys, kept)
    archive = LakeArchive(LakeReader(layout.lake))
    results = []
    for name in [site] if site else _sites(archive, layout):
        results += _site(archive, layout, name, keys, kept)
    if site is None:
        there = {*keys, *layout.own_logs(), *_kept(layout)}
        for name in (name for name in _OWN if name in there):
            results += [found for found in _own(layout, name, keys, kept) if not found.nothing]
    return results


def _own(layout: Layout, name: str, keys: Keys, kept: Sequence[str]) -> list[SiteVerification]:
    title = _OWN[name].title

    def verify(key: VerifierKey, notes: list[str]) -> SiteVerification:
        log = layout.own_logs().get(name)
        if log is None:
            return _refused(title, "log", "is not there, and its key or its files say that it was")
        try:
            return log.verify(key, notes, keys.get(WITNESS_KEY))
        except ConfigError as error:  # the file is damaged
            return _refused(title, "log", str(error))

    return _both(layout, name, keys, kept, _refused(title, "log", "no verifier key is known for it"), verify)


def _site(
    archive: LakeArchive, layout: Layout, site: str, keys: Keys, kept: Sequence[str]
) -> list[SiteVerification]:
    def verify(key: VerifierKey, notes: list[str]) -> SiteVerification:
        try:
            return verify_site(archive, site, key, notes, keys.get(WITNESS_KEY))
        except Retryable as error:
            return _refused(site, "lake", f"its entries cannot be read: {error}")

    keyless = _refused(site, "lake", "no verifier key is known for this site")
    return _both(layout, site, keys, kept, keyless, verify)


def _both(
    layout: Layout,
    name: str,
    keys: Keys,
    kept: Sequence[str],
    keyless: SiteVerification,
    verify: Callable[[VerifierKey, list[str]], SiteVerification],
) -> list[SiteVerification]:
    """Both forms of a log, of which `verify` does the first, against the same notes: two that hold are the
    same log."""
    key = keys.get(name)
    if key is None:
        return [keyless]
    try:
        notes = [*_notes(layout.witness / name), *kept]
        files = TileStore(layout.tiles / name).checkpoint()
    except (NoteError, OSError) as error:
        return [_refused(keyless.site, "tiles", f"{CHECKPOINT}: {error}")]
    first = verify(key, [*notes, *([files] if files is not None else [])])
    if files is None and not notes:
        return [first]  # nothing has been co-signed yet
    return [first, _files(layout.tiles / name, name, keys, notes)]


def _files(folder: Path, log: str, keys: Keys, kept: Sequence[str]) -> SiteVerification:
    title, problem_of = log, site_entry_problem(log)
    if (own := _OWN.get(log)) is not None:
        title, problem_of = own.title, own.entry_problem
    if log not in keys:
        return _refused(title, "tiles", "no verifier key is known for this log")
    return verify_tiles(folder, title, keys[log], keys.get(WITNESS_KEY), problem_of, kept)


def _refused(site: str, source: str, problem: str) -> SiteVerification:
    return SiteVerification(site, source, problems=[problem])


def _notes(folder: Path) -> list[str]:
    return [read_note(path) for path in sorted(folder.glob("*.note"), key=lambda path: int(path.stem))]


def _kept(layout: Layout) -> set[str]:
    """Logs with files, or with notes that the witness kept."""
    found = [path for folder in (layout.tiles, layout.witness) for path in folder.glob("*")]
    return {path.name for path in found if path.is_dir()}


def _sites(archive: LakeArchive, layout: Layout) -> list[str]:
    """Sites with entries in the lake, files, or co-signed notes; none where the centre alone has acted."""
    kept = _kept(layout) - _OWN.keys()
    try:
        return sorted({*archive.sites(), *kept})
    except Retryable:
        if kept or layout.own_logs():
            return sorted(kept)
        raise
