"""Site and centre over real gRPC: commands, answers, co-signed checkpoints, strangers."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import states
from control_plane.rpc.fleet import MESSAGE_BYTES_MAX, SERVICE, FleetService, start_fleet_server
from edge_agent.update import FleetClient
from shared.checkpoint import verifier_key
from shared.errors import ConfigError
from shared.listen import free_port
from shared.schemas import utc_now
from shared.wire import fleet_pb2, fleet_pb2_grpc

DEADLINE_S = 60.0


def key() -> str:
    return str(verifier_key("pm-stack-smr/TX01", Ed25519PrivateKey.generate().public_key()))


class Site:
    """The agent's end, answering as told."""

    def __init__(self, address: str, audit_key: str) -> None:
        self.commands: list[str] = []
        self.notes: list[tuple[int, str]] = []
        self.audit_key, self.silent = audit_key, False
        self.client = FleetClient(address, self.hello, self.on_command, self.on_witnessed)

    def hello(self) -> fleet_pb2.Hello:
        return fleet_pb2.Hello(
            site_id="TX01", agent_version="0.1.0", store_id="s", audit_public_key=self.audit_key
        )

    async def on_command(self, command: fleet_pb2.Command) -> None:
        self.commands.append(command.rollout_id)
        if self.silent:
            return
        answer = fleet_pb2.Acknowledgement(
            rollout_id=command.rollout_id,
            generation=command.generation,
            state=fleet_pb2.Acknowledgement.COMMITTED,
            detail="pump/1",
            models=[fleet_pb2.RunningModel(component_type="pump", name="pump", version=1, sha256="0" * 64)],
        )
        self.client.send(fleet_pb2.SiteMessage(acknowledgement=answer))

    async def on_witnessed(self, size: int, note: str) -> None:
        self.notes.append((size, note))


@asynccontextmanager
async def connected(site: Site):
    task = asyncio.create_task(site.client.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def health(windows: int) -> fleet_pb2.SiteMessage:
    report = fleet_pb2.HealthReport(
        rollout_id="r1", generation=1, component_type="pump", state=fleet_pb2.Acknowledgement.TRYING,
        windows=windows,
    )  # fmt: skip
    return fleet_pb2.SiteMessage(health=report)


@asynccontextmanager
async def serving(service: FleetService, address: str):
    server = await start_fleet_server(service, address)
    following = asyncio.create_task(service.follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await server.stop(None)


def journal(store: FleetStore) -> list[Event]:
    return [line.event for line in store.events()]


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.05)


def command(store: FleetStore, rollout_id: str = "r1") -> None:
    now = utc_now()
    store.append([Event(rollout_id, 1, "", Kind.STARTED, "pump/1", now)])
    store.append([Event(rollout_id, 1, "TX01", Kind.COMMANDED, "pump/1", now)])


def done(store: FleetStore) -> bool:
    return states(line.event for line in store.events())["r1"].done


@pytest.fixture
def store(tmp_path):
    return FleetStore(tmp_path / "fleet.db")


@pytest.fixture
def address():
    return f"127.0.0.1:{free_port()}"


async def test_a_command_reaches_the_site_and_its_answer_the_journal(store, address):
    site = Site(address, key())
    async with serving(FleetService(store), address), connected(site):
        command(store)
        await until(lambda: states(journal(store))["r1"].done)
        await until(lambda: store.sites()[0]["models"])
    [seen] = store.sites()
    assert (site.commands, seen["models"][0]["name"]) == (["r1"], "pump")


async def test_a_command_given_while_the_site_is_away_waits_for_it(store, address):
    command(store)
    site = Site(address, key())
    async with connected(site):  # dials before the centre listens
        await asyncio.sleep(1)
        async with serving(FleetService(store), address):
            await until(lambda: states(journal(store))["r1"].done)


async def test_a_restarted_centre_goes_on_with_the_journal(store, address):
    site = Site(address, key())
    async with connected(site):
        async with serving(FleetService(store), address):
            await until(store.sites)
        command(store)
        async with serving(FleetService(FleetStore(store.where)), address):
            await until(lambda: states(journal(store))["r1"].done)
    assert site.commands == ["r1"]


async def test_a_co_signed_checkpoint_goes_back_to_its_site(store, address):
    service = FleetService(store)
    service.witnessed("TX01", 7, "a note")
    service.witnessed("ID01", 8, "another's")
    site = Site(address, key())
    async with serving(service, address), connected(site):
        await until(lambda: site.notes)
        service.witnessed("TX01", 9, "a newer one")
        await until(lambda: len(site.notes) == 2)
    assert site.notes == [(7, "a note"), (9, "a newer one")]


async def test_of_health_reports_the_journal_keeps_the_newest(store, address):
    """A trial reports every few seconds; its figures cover all before them."""
    command(store)
    site = Site(address, key())
    site.silent = True
    async with serving(FleetService(store), address), connected(site):
        await until(lambda: site.commands)
        for windows in (1, 2, 3):
            site.client.send(health(windows))
        await until(lambda: any('"windows":3' in event.detail for event in journal(store)))
    reports = [event.detail for event in journal(store) if event.kind is Kind.HEALTH]
    assert len(reports) == 1


async def test_an_answer_that_is_repeated_is_one_line_of_the_journal(store, address):
    """A site says again what is current at each reconnect."""
    command(store)
    site = Site(address, key())
    async with serving(FleetService(store), address), connected(site):
        await until(lambda: states(journal(store))["r1"].done)
        again = fleet_pb2.Command(rollout_id="r1", generation=1)
        await site.on_command(again)
        site.client.send(health(1))  # comes after it
        await until(lambda: any(event.kind is Kind.HEALTH for event in journal(store)))
    assert sum(event.kind is Kind.COMMITTED for event in journal(store)) == 1


async def test_a_second_stream_of_a_site_ends_the_first(store, address):
    """A site that lost its link without a word dials again: it is heard on the new stream."""
    service, audit_key = FleetService(store), key()
    async with serving(service, address), connected(Site(address, audit_key)):
        await until(lambda: service.connected == 1)
        async with grpc.aio.insecure_channel(address) as channel:
            call = fleet_pb2_grpc.FleetStub(channel).Connect()
            await call.write(fleet_pb2.SiteMessage(hello=Site(address, audit_key).hello()))
            await call.initial_metadata()
            assert service.connected == 1
            with pytest.raises(grpc.aio.AioRpcError, match="another stream"):
                await call.read()  # the first has dialled again


async def test_a_silent_stream_is_closed(store, address, monkeypatch):
    """A site that says nothing for a minute is not there."""
    monkeypatch.setattr("control_plane.rpc.fleet.SILENCE_MAX_S", 0.5)
    service = FleetService(store)
    async with serving(service, address), grpc.aio.insecure_channel(address) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect()
        await call.write(fleet_pb2.SiteMessage(hello=Site(address, key()).hello()))
        with pytest.raises(grpc.aio.AioRpcError, match="no word"):
            await call.read()
        await until(lambda: service.connected == 0)


async def test_a_call_without_a_hello_is_closed(store, address, monkeypatch):
    """Who connects and says nothing holds no place."""
    monkeypatch.setattr("control_plane.rpc.fleet.HELLO_TIMEOUT_S", 0.3)
    async with serving(FleetService(store), address), grpc.aio.insecure_channel(address) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect()
        with pytest.raises(grpc.aio.AioRpcError, match="no Hello"):
            await call.read()


async def test_an_oversized_message_ends_the_stream_and_nothing_else(store, address):
    """What a site may say at once is bounded; the service goes on."""
    service, site = FleetService(store), Site(address, key())
    async with serving(service, address), grpc.aio.insecure_channel(address) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect()
        await call.write(fleet_pb2.SiteMessage(hello=site.hello()))
        await call.initial_metadata()
        long = fleet_pb2.Acknowledgement(rollout_id="r1", detail="x" * (MESSAGE_BYTES_MAX + 1))
        await call.write(fleet_pb2.SiteMessage(acknowledgement=long))
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        async with connected(site):
            await until(lambda: service.connected == 1)


async def test_who_comes_with_another_audit_key_is_turned_away(store, address):
    async with serving(FleetService(store), address):
        async with connected(Site(address, key())):
            await until(store.sites)
        command(store)
        stranger = Site(address, key())
        async with grpc.aio.insecure_channel(address) as channel:
            hello = fleet_pb2.SiteMessage(hello=stranger.hello())
            call = fleet_pb2_grpc.FleetStub(channel).Connect(iter([hello]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "another audit key" in caught.value.details()


@pytest.mark.parametrize("name", ["inference", "../TX01"])
async def test_who_cannot_be_a_site_is_turned_away(store, address, name):
    """Not even where no certificate says who calls: its log's folder is named as the site is."""
    hello = Site(address, key()).hello()
    hello.site_id = name
    async with serving(FleetService(store), address), grpc.aio.insecure_channel(address) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect(iter([fleet_pb2.SiteMessage(hello=hello)]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert f"site '{name}'" in caught.value.details()
    assert store.sites() == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (fleet_pb2.SiteMessage(heartbeat=fleet_pb2.Heartbeat()), "must be Hello"),
        (fleet_pb2.SiteMessage(hello=fleet_pb2.Hello()), "must be Hello"),
        (
            fleet_pb2.SiteMessage(hello=fleet_pb2.Hello(site_id="TX01", audit_public_key="x")),
            "audit_public_key",
        ),
    ],
)
async def test_a_wrong_first_message_is_named(store, address, message, words):
    server = await start_fleet_server(FleetService(store), address)
    async with grpc.aio.insecure_channel(address) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect(iter([message]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()
    assert store.sites() == []
    await server.stop(None)


async def test_health_is_answered(store, address):
    server = await start_fleet_server(FleetService(store), address)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(None)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "nonsense"])
async def test_only_loopback_listens(store, address):
    with pytest.raises(ConfigError, match="--fleet-listen"):
        await start_fleet_server(FleetService(store), address)


async def test_a_taken_port_is_a_clear_error(store, address):
    server = await start_fleet_server(FleetService(store), address)
    with pytest.raises(ConfigError, match="it is taken"):
        await start_fleet_server(FleetService(store), address)
    await server.stop(None)
