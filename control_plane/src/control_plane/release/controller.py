"""Starts roll-outs: writes each site's director metadata, then the journal."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from securesystemslib.signer import Signer

from control_plane.release.director import Director
from control_plane.release.fleet_store import FleetStore
from control_plane.release.image import FILES, ImageRepository
from control_plane.release.rollout import Event, Kind
from shared.errors import Rejected
from shared.schemas import Assignment, utc_now


def start_rollout(
    repository: Path, store: FleetStore, release: str, sites: Sequence[str], signers: Mapping[str, Signer]
) -> str:
    """Assign a published release (`name/version`) to every site at once; the roll-out's id.

    `signers` holds each site's director key. Rejected when the release is not published, or a site has
    no director repository.
    """
    image = ImageRepository(repository)
    manifest, _ = image.release(release)
    published = image.targets()
    files = {path: published[path] for path in (f"{release}/{file}" for file in FILES)}
    directors = {site: Director(repository, site) for site in sites}
    missing = [site for site, director in directors.items() if not director.root.exists()]
    if missing:
        raise Rejected(
            f"no director repository for {', '.join(missing)}; `control-plane release director` makes one"
        )
    rollout_id = f"{manifest.name}-{manifest.version}-{uuid.uuid4().hex[:8]}"
    generation = 1 + max((director.generation() for director in directors.values()), default=0)
    assignment = Assignment(
        component_type=manifest.component_type, mode="active", rollout_id=rollout_id, generation=generation
    )
    now = utc_now()
    store.append([Event(rollout_id, generation, "", Kind.STARTED, release, now)])
    for site, director in directors.items():
        director.assign(files, assignment, signers[site])
        store.append([Event(rollout_id, generation, site, Kind.COMMANDED, release, now)])
    return rollout_id
