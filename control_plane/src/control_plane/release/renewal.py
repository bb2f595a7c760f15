"""Signs online metadata anew before it expires, as long as the service runs; says when people must.

Snapshot, timestamp and each site's director hold ONLINE_EXPIRY and are renewed at half of it, so a centre
that is down for two weeks stops no site's updates. Root and targets need people, once a year.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets, Timestamp

from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.layout import Layout
from control_plane.release.image import ImageRepository
from control_plane.release.metadata_files import (
    ONLINE_EXPIRY,
    load,
    next_version,
    only_writer,
    publish,
    renew,
)
from shared.errors import PmStackError, Rejected
from shared.schemas import utc_now

RENEW_BEFORE = ONLINE_EXPIRY / 2
TELL_BEFORE = timedelta(days=60)  # people, keys and a day for a ceremony take weeks to bring together
LOOK_PERIOD_S = 600.0  # how long a director may name what was revoked; a look reads three files a site
CLOCK_TOLERANCE = timedelta(days=1)  # what was signed may not lie further in this clock's future

log = structlog.get_logger()


class Renewal(NamedTuple):
    """What one look did: repositories renewed, and why others could not be or need people."""

    renewed: list[str]
    problems: dict[str, str]


def renew_due(repository: Path, signers: Mapping[str, Signer], now: datetime | None = None) -> Renewal:
    """Renew what expires within RENEW_BEFORE, and a director that names what was revoked, without that.

    `signers` by name, as `DirectorKeys.by_name` has them: `online`, `director-<SITE>`. Blocking.
    """
    now = now or utc_now()
    found = Renewal([], {})
    approved = ImageRepository(repository).targets().keys()
    folders = {"image": repository / "image" / "metadata"}
    folders |= {f"director/{p.parent.name}": p for p in sorted(repository.glob("director/*/metadata"))}
    for name, folder in folders.items():
        if not (folder / "timestamp.json").exists():
            continue
        site = name.partition("/")[2]
        signer = signers.get(f"director-{site}" if site else "online")
        try:
            if _renewed(folder, signer, now, approved if site else None):
                found.renewed.append(name)
            _tell(folder, now, ("root",) if site else ("root", "targets"))
        except PmStackError as error:
            found.problems[name] = str(error)
    return found


async def keep_fresh(layout: Layout, signers: Mapping[str, Signer], stop: asyncio.Event) -> None:
    """Renew until `stop`. What is renewed, or cannot be, goes on the centre's record."""
    record, told = layout.centre_log(), dict[str, str]()
    while not stop.is_set():
        found = await asyncio.to_thread(renew_due, layout.repository, signers)
        await asyncio.to_thread(_note, record, found, told)
        told = found.problems
        try:
            await asyncio.wait_for(stop.wait(), LOOK_PERIOD_S)
        except TimeoutError:
            continue


def _note(record: CentreLog, found: Renewal, told: Mapping[str, str]) -> None:
    """Each problem once for as long as it stays the same."""
    for name in found.renewed:
        record.note(CentreAct.METADATA_RENEWED, name)
    for name, problem in found.problems.items():
        if told.get(name) != problem:
            log.error("metadata needs people", repository=name, problem=problem)
            record.note(CentreAct.METADATA_EXPIRING, name, problem=problem)


def _renewed(folder: Path, signer: Signer | None, now: datetime, approved: Collection[str] | None) -> bool:
    """Whether it was due. `approved` are the image repository's paths where a director's targets go along."""
    with only_writer(folder):
        targets, timestamp = (
            load(folder / "targets.json", Targets),
            load(folder / "timestamp.json", Timestamp),
        )
        named = targets.signed.targets
        revoked = [path for path in named if path not in approved] if approved is not None else []
        ages = [timestamp.signed.expires, *([targets.signed.expires] if approved is not None else [])]
        expires = min(ages)
        if expires > now + ONLINE_EXPIRY + CLOCK_TOLERANCE:
            raise Rejected(
                f"was signed in this clock's future (holds until {expires:%Y-%m-%d}): the clock is wrong"
            )
        if expires > now + RENEW_BEFORE and not revoked:
            return False
        root = load(folder / "root.json", Root).signed
        if signer is None or signer.public_key.keyid not in root.roles["timestamp"].keyids:
            why = "is not its key" if signer else "is not here"
            what = (
                f"names {revoked[0]}, which was revoked"
                if revoked
                else f"expires {expires:%Y-%m-%d %H:%M} UTC"
            )
            raise Rejected(f"{what}, and the key to renew it {why}")
        if approved is not None:
            for path in revoked:  # else the site would refuse all that its director says
                del named[path]
            next_version(targets, ONLINE_EXPIRY, now)
            targets.sign(signer)
            publish(targets, folder)
        renew(folder, signer, now)
        return True


def _tell(folder: Path, now: datetime, roles: tuple[str, ...]) -> None:
    for role in roles:
        path = folder / f"{role}.json"
        expires = (load(path, Root) if role == "root" else load(path, Targets)).signed.expires
        if expires < now + TELL_BEFORE:
            raise Rejected(f"the {role} expires {expires:%Y-%m-%d}; its key holders must sign a new one")
