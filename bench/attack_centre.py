"""Attacks on the centre: people who would count twice, sites that are others, what may not be proposed.

The acts go through what the commands call, and what is refused must be in the centre's own log. Sites come
over the centre's real doors: enrolment, fleet service and repositories, with mutual TLS.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import onnx
import urllib3
from onnx import TensorProto, helper

from bench.attack_repository import ONE, published_by
from bench.attack_stage import NEIGHBOUR, SITE, Attack, Stage
from control_plane.audit.centre_log import CentreAct
from control_plane.commands.record import on_record
from control_plane.release import approval
from control_plane.release.ceremony import Appointments, propose_root
from control_plane.release.keys import generate
from edge_agent.enrolment import enrol
from edge_agent.identity import SiteIdentity
from shared.errors import ConfigError, Rejected, Retryable, Untrusted
from shared.wire import fleet_pb2, fleet_pb2_grpc
from tests.support.doors import Doors, Site
from tests.support.releases import PASSPHRASE, make_release, write_release

PROPOSER_KEY = "the proposer's key"
WAIT_S = 20.0


def _refused(stage: Stage, done: CentreAct, refused: CentreAct, act: Callable[[], object]) -> None:
    """Do it as the command does; the stage hears of it when it is not refused."""
    with suppress(Rejected, Untrusted, ConfigError), on_record(stage.centre.layout, done, refused, "attack"):
        act()
        stage.gained = "the centre did it"


# --- people


def same_key_other_name(stage: Stage) -> None:
    """Alice's key as a new approver's too: she alone would be two of three."""
    twice = Appointments(remove_approvers=("bob",), add_approvers={"mallory": stage.centre.public("alice")})
    _refused(
        stage,
        CentreAct.ROOT_PROPOSED,
        CentreAct.RELEASE_REFUSED,
        lambda: propose_root(stage.centre.image, twice, stage.centre.signer("dave"), "bob has left"),
    )


def proposers_key_as_approver(stage: Stage) -> None:
    twice = Appointments(remove_approvers=("bob",), add_approvers={"bert": stage.centre.public("dave")})
    _refused(
        stage,
        CentreAct.ROOT_PROPOSED,
        CentreAct.RELEASE_REFUSED,
        lambda: propose_root(stage.centre.image, twice, stage.centre.signer("dave"), "bob has left"),
    )


def published_with_one(stage: Stage) -> None:
    """The online key's holder publishes what one of three has signed."""
    proposal = _proposed(stage, *stage.next_release())
    stage.centre.approve(proposal, "alice")
    _refused(
        stage,
        CentreAct.RELEASE_PUBLISHED,
        CentreAct.RELEASE_REFUSED,
        lambda: stage.centre.image.publish(proposal, stage.centre.signer("online")),
    )


def signature_of_another(stage: Stage) -> None:
    """An approval that was given for one proposal, handed in for another."""
    sound = _proposed(stage, *stage.next_release())
    given = approval.approve(sound, stage.centre.signer("alice"))
    evil = _proposed(stage, *stage.next_release())
    moved = given.model_copy(update={"proposal": evil.name})
    _refused(
        stage,
        CentreAct.RELEASE_APPROVED,
        CentreAct.APPROVAL_REFUSED,
        lambda: approval.add_signature(evil, moved),
    )


def changed_after_approval(stage: Stage) -> None:
    """Two people approved; then the file in the proposal is exchanged."""
    proposal = _proposed(stage, *stage.next_release())
    stage.centre.approve(proposal, "alice", "carol")
    [path] = proposal.rglob("model.onnx")
    path.write_bytes(make_release(bias=-1.0)[1])
    _refused(
        stage,
        CentreAct.RELEASE_PUBLISHED,
        CentreAct.RELEASE_REFUSED,
        lambda: stage.centre.image.publish(proposal, stage.centre.signer("online")),
    )


def _proposed(stage: Stage, *release: object) -> Path:
    folder = stage.folder / "proposed"
    shutil.rmtree(folder, ignore_errors=True)
    return stage.centre.propose(write_release(folder, *release))  # type: ignore[arg-type]


def weights_outside(stage: Stage) -> None:
    """A model whose constant lies in another file: no signature would cover it."""
    manifest, model = make_release(version=next(stage.versions))
    graph = onnx.load_model_from_string(model)
    weight = onnx.TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    graph.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=weight))
    data = bytes(graph.SerializeToString())
    outside = manifest.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    _refused(
        stage, CentreAct.RELEASE_PROPOSED, CentreAct.RELEASE_REFUSED, lambda: _proposed(stage, outside, data)
    )


def revoked_approver(stage: Stage) -> None:
    """Bob was taken out and the site has followed; his signature comes with alice's."""
    if not (stage.centre.keys / "erin.pem").exists():
        generate(stage.centre.keys, "erin", PASSPHRASE)
        change = Appointments(remove_approvers=("bob",), add_approvers={"erin": stage.centre.public("erin")})
        proposal = propose_root(stage.centre.image, change, stage.centre.signer("dave"), "bob has left")
        stage.centre.approve(proposal, "alice", "carol")
        stage.centre.image.publish(proposal, stage.centre.signer("online"))
    stage.show_copy()
    stage.assign_good()
    stage.take_honestly()
    published_by(stage, "alice", "bob")


# --- sites


def _at_the_doors(attack: Callable[[Doors, Stage], Awaitable[bool]]) -> Callable[[Stage], None]:
    """The centre's doors are open meanwhile."""

    async def play(stage: Stage) -> bool:
        doors = Doors(stage.centre)
        async with doors.open():
            return await attack(doors, stage)

    def prepare(stage: Stage) -> None:
        stage.gained = "the centre let it in" if asyncio.run(play(stage)) else ""

    return prepare


async def _enrolled(doors: Doors, stage: Stage, site: str = NEIGHBOUR) -> Site:
    folder = stage.folder / f"thief-{site}"
    shutil.rmtree(folder, ignore_errors=True)
    return await doors.enrol(site, folder)


def _identity(site: Site) -> SiteIdentity:
    if site.identity is None:
        raise RuntimeError(f"{site.site} was not enrolled")
    return site.identity


async def _fetches(site: Site, path: str) -> bool:
    context = _identity(site).files.context()

    def ask() -> int:
        with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
            return pool.request("GET", f"{site.doors.url}/{path}", timeout=WAIT_S).status

    return await asyncio.to_thread(ask) == 200


async def _is_heard(site: Site, says: str) -> bool:
    """Whether the fleet service takes this certificate's Hello in the name of `says`."""
    message = site.hello()
    message.site_id = says
    async with grpc.aio.secure_channel(site.doors.fleet, _identity(site).channel_credentials()) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect()
        try:
            await call.write(fleet_pb2.SiteMessage(hello=message))
            await call.initial_metadata()
            if call.done():
                await call.read()
        except grpc.aio.AioRpcError:
            return False
        return True


async def stolen_certificate(doors: Doors, stage: Stage) -> bool:
    """A copy of a site's key and certificate, after the site was shut out."""
    site = await _enrolled(doors, stage)
    if not (await _fetches(site, "image/metadata/timestamp.json") and await _is_heard(site, NEIGHBOUR)):
        raise RuntimeError("the certificate must hold before it is revoked")
    await asyncio.to_thread(doors.office.revoke, NEIGHBOUR, "its disk was stolen")
    return await _fetches(site, "image/metadata/timestamp.json") or await _is_heard(site, NEIGHBOUR)


async def neighbours_files(doors: Doors, stage: Stage) -> bool:
    """One site reads what another one is to run."""
    site = await _enrolled(doors, stage)
    paths = ("", "x/../", "%2e%2e/director/", "/")
    return any([await _fetches(site, f"director/{path}{SITE}/metadata/1.root.json") for path in paths])


async def neighbours_name(doors: Doors, stage: Stage) -> bool:
    """One site answers for another."""
    return await _is_heard(await _enrolled(doors, stage), SITE)


async def spent_token(doors: Doors, stage: Stage) -> bool:
    """A token that was overheard, after the site has used it."""
    token, _ = await asyncio.to_thread(doors.office.token, NEIGHBOUR)
    for name in ("honest", "thief"):
        folder = stage.folder / f"token-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            await asyncio.to_thread(enrol, NEIGHBOUR, token, doors.enrol_at, doors.fingerprint, folder)
        except (Rejected, Retryable):
            return False
    return True


def at_centre(name: str, holds: str, check: CentreAct, prepare: Callable[[Stage], None]) -> Attack:
    """A row whose refusal is in the centre's log."""
    return Attack(name, holds, check.value, prepare, at_centre=True)


REFUSED, DOOR = CentreAct.RELEASE_REFUSED, CentreAct.CONNECTION_REFUSED
CERTIFICATE = "a site's key and certificate"

ATTACKS = [
    at_centre("one key under two people's names", f"{ONE}, {PROPOSER_KEY}", REFUSED, same_key_other_name),
    at_centre("a proposer who would approve", PROPOSER_KEY, REFUSED, proposers_key_as_approver),
    at_centre("1 of 3 approvals, published", f"{ONE}, the online key", REFUSED, published_with_one),
    at_centre(
        "an approval moved to another proposal",
        PROPOSER_KEY,
        CentreAct.APPROVAL_REFUSED,
        signature_of_another,
    ),
    at_centre("model exchanged after its approval", "the centre's disk", REFUSED, changed_after_approval),
    at_centre("weights outside the file, proposed", PROPOSER_KEY, REFUSED, weights_outside),
    Attack(
        "a revoked approver's key",
        f"{ONE}, a revoked one, the online and the director key",
        "image signatures",
        revoked_approver,
    ),
    at_centre(
        "stolen site certificate after revocation", CERTIFICATE, DOOR, _at_the_doors(stolen_certificate)
    ),
    at_centre("another site's director files", CERTIFICATE, DOOR, _at_the_doors(neighbours_files)),
    at_centre("a Hello in another site's name", CERTIFICATE, DOOR, _at_the_doors(neighbours_name)),
    at_centre(
        "an enrolment token used again",
        "an overheard token",
        CentreAct.ENROLMENT_REFUSED,
        _at_the_doors(spent_token),
    ),
]
