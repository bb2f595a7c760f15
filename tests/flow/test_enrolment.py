"""Enrolment, renewal and revocation over real TLS; who may not call is refused, and on the record."""

import asyncio
import ssl
from datetime import timedelta

import grpc
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.audit.centre_log import CentreAct
from control_plane.enrolment import register
from control_plane.enrolment.authority import Authority
from edge_agent import enrolment as agent
from edge_agent.update import ReleaseClient
from shared.errors import Rejected, Retryable, Untrusted
from shared.schemas import utc_now
from shared.tls import IdentityFiles, fingerprint, load_certificate, site_of
from shared.wire import enrolment_pb2, enrolment_pb2_grpc, fleet_pb2, fleet_pb2_grpc
from tests.support.doors import Doors, until
from tests.support.releases import Centre, make_release


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """Keys, repositories, two sites' directors and a published release."""
    centre = Centre(tmp_path_factory.mktemp("centre"), ("TX01", "ID01"))
    centre.publish(*make_release())
    return centre


@pytest.fixture
def doors(centre):
    return Doors(centre)


def fetched(site, path: str) -> int:
    """The status of a request with the site's certificate."""
    with urllib3.PoolManager(ssl_context=site.identity.files.context(), retries=False) as pool:
        return pool.request("GET", f"{site.doors.url}/{path}", timeout=20).status


async def hello(site, **changes) -> grpc.aio.AioRpcError | None:
    """What a Hello with the site's certificate is answered: nothing when it is taken."""
    message = site.hello()
    for name, value in changes.items():
        setattr(message, name, value)
    async with grpc.aio.secure_channel(site.doors.fleet, site.identity.channel_credentials()) as channel:
        call = fleet_pb2_grpc.FleetStub(channel).Connect()
        try:
            await call.write(fleet_pb2.SiteMessage(hello=message))
            await call.initial_metadata()
            if call.done():
                await call.read()
        except grpc.aio.AioRpcError as error:
            return error
        return None


# --- the way in -----------------------------------------------------------------------------------


async def test_an_enrolled_site_fetches_a_release_and_hears_a_command(doors, tmp_path):
    """From a token to a verified release, all of it over mutual TLS."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path)
        rollout = doors.centre.roll_out("coolant_pump/1", "TX01")
        client = ReleaseClient(tmp_path, tmp_path / "trust", doors.url, "TX01", site.identity.fetcher())
        found = await asyncio.to_thread(client.fetch)
        async with site.connected():
            await until(lambda: any(rollout == r for r, _ in site.commands))
    assert [each.manifest.folder for each in found] == ["coolant_pump/1"]
    assert site_of(load_certificate(site.identity.files.certificate)) == "TX01"
    assert site.identity.files.key.stat().st_mode & 0o777 == 0o600
    assert ("TX01", "") in doors.noted(CentreAct.SITE_ENROLLED)


async def test_the_private_key_never_leaves_the_site(doors, tmp_path, monkeypatch):
    """What goes to the centre holds the public key alone."""
    sent = []
    real = agent.enrolment_pb2_grpc.EnrolmentStub

    class Listening(real):
        def __init__(self, channel):
            super().__init__(channel)
            enroll = self.Enroll
            self.Enroll = lambda request, **options: sent.append(request) or enroll(request, **options)

    async with doors.open():
        monkeypatch.setattr(agent.enrolment_pb2_grpc, "EnrolmentStub", Listening)
        site = await doors.enrol("TX01", tmp_path)
    [request] = sent
    scalar = agent.IdentityFiles(site.identity.files.folder).load_or_create_key().private_numbers()
    secret = scalar.private_value.to_bytes(32, "big")
    body = x509.load_pem_x509_csr(request.certificate_request.encode()).public_bytes(Encoding.DER)
    assert secret not in body
    assert secret not in request.SerializeToString()


async def test_a_centre_with_another_authority_is_told_nothing(doors, tmp_path, monkeypatch):
    """The fingerprint that a person brought decides, before the token is sent."""
    spoken = []
    monkeypatch.setattr(agent.grpc, "secure_channel", lambda *a, **k: spoken.append(a))
    async with doors.open():
        token, _ = doors.office.token("TX01")
        other = "sha256:" + "0" * 64
        with pytest.raises(Untrusted, match="shows another authority"):
            await asyncio.to_thread(agent.enrol, "TX01", token, doors.enrol_at, other, tmp_path)
    assert not spoken


async def test_a_man_in_the_middle_who_copies_the_authority_gets_no_token(doors, tmp_path):
    """The real authority's certificate beside a key of one's own does not make a TLS server."""
    forged = Authority(tmp_path / "forged").server_files(["127.0.0.1"])
    chain = (
        forged.chain.read_bytes().split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    )
    chain += doors.layout.authority().path.read_bytes()
    asked = []

    class Thief(enrolment_pb2_grpc.EnrolmentServicer):
        async def Enroll(self, request, context):  # noqa: N802
            asked.append(request.token)

    server = grpc.aio.server()
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(Thief(), server)
    credentials = grpc.ssl_server_credentials([(forged.key.read_bytes(), chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    with pytest.raises(Retryable):
        await asyncio.to_thread(
            agent.enrol, "TX01", "secret", f"127.0.0.1:{port}", doors.fingerprint, tmp_path / "site"
        )
    await server.stop(None)
    assert not asked


async def test_a_site_without_a_director_keeps_its_token(doors, tmp_path):
    """There is nothing for it to trust yet; the token is good once there is."""
    async with doors.open():
        with pytest.raises(Rejected, match="release director NV01"):
            await doors.enrol("NV01", tmp_path)
    assert doors.register.sites()[-1].state in ("waits for its agent", "enrolled")


# --- tokens ---------------------------------------------------------------------------------------


async def refused(doors, site: str, token: str, folder) -> str:
    with pytest.raises(Rejected) as caught:
        await asyncio.to_thread(agent.enrol, site, token, doors.enrol_at, doors.fingerprint, folder)
    return str(caught.value)


async def test_tokens_that_do_not_hold_are_refused_with_the_reason(doors, tmp_path, monkeypatch):
    """Wrong, used, another site's, expired: each is told apart and on the record."""
    async with doors.open():
        used, _ = doors.office.token("TX01")
        await asyncio.to_thread(agent.enrol, "TX01", used, doors.enrol_at, doors.fingerprint, tmp_path / "a")
        another, _ = doors.office.token("ID01")
        monkeypatch.setattr(register, "TOKEN_LIFE", timedelta(seconds=-1))
        expired, _ = doors.office.token("TX01")
        said = [
            await refused(doors, "TX01", "made-up", tmp_path / "b"),
            await refused(doors, "TX01", used, tmp_path / "b"),
            await refused(doors, "TX01", another, tmp_path / "b"),
            await refused(doors, "TX01", expired, tmp_path / "b"),
        ]
    words = ("none of this centre's", "was used at", "for another site", "expired at")
    assert [word in text for word, text in zip(words, said, strict=True)] == [True] * 4
    noted = [reason for _, reason in doors.noted(CentreAct.ENROLMENT_REFUSED)]
    assert all(any(word in reason for reason in noted) for word in words)
    assert not IdentityFiles(tmp_path / "b" / "identity").complete


async def test_two_who_show_one_token_at_a_time_get_one_certificate(doors, tmp_path):
    """A token enrols once, however close two come."""
    async with doors.open():
        token, _ = doors.office.token("TX01")
        tries = [
            asyncio.to_thread(
                agent.enrol, "TX01", token, doors.enrol_at, doors.fingerprint, tmp_path / str(n)
            )
            for n in range(4)
        ]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, x509.Certificate) for each in outcomes) == 1
    assert sum(isinstance(each, Rejected) for each in outcomes) == 3


async def test_who_guesses_tokens_is_not_looked_at_for_a_while(doors, tmp_path):
    """Ten refusals a minute from one address; then not even a good token, until it is over."""
    async with doors.open():
        for guess in range(10):
            await refused(doors, "TX01", f"guess-{guess}", tmp_path)
        token, _ = doors.office.token("TX01")
        assert "too many refusals" in await refused(doors, "TX01", token, tmp_path)


def test_no_token_lies_on_the_disk_in_clear(doors):
    """Who copies the register cannot enrol with it."""
    token, _ = doors.office.token("TX01")
    doors.register.sites()
    folder = doors.layout.data_dir / "enrolment"
    assert not any(token.encode() in file.read_bytes() for file in folder.iterdir())
    doors.register.close()


# --- one site is never another --------------------------------------------------------------------


async def test_a_certificate_with_another_sites_hello_is_refused(doors, tmp_path):
    """Hello names the site of the certificate, or the stream never begins."""
    async with doors.open():
        a, b = await doors.enrol("TX01", tmp_path / "a"), await doors.enrol("ID01", tmp_path / "b")
        assert await hello(a) is None
        error = await hello(a, site_id="ID01", audit_public_key=b.audit_key)
        other_log = await hello(a, audit_public_key=b.audit_key)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "the certificate of TX01 came with a Hello of ID01" in error.details()
    assert "another audit key" in other_log.details()
    assert any("Hello of ID01" in reason for _, reason in doors.noted(CentreAct.CONNECTION_REFUSED))


async def test_a_site_fetches_its_own_directors_files_alone(doors, tmp_path):
    """Image files and its own director's; nothing else under any spelling."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path)
        own = [
            await asyncio.to_thread(fetched, site, path)
            for path in ("image/metadata/timestamp.json", "director/TX01/metadata/1.root.json")
        ]
        foreign = [
            await asyncio.to_thread(fetched, site, path)
            for path in (
                "director/ID01/metadata/1.root.json",
                "director/TX01/../ID01/metadata/1.root.json",
                "director/TX01/%2e%2e/ID01/metadata/1.root.json",
                "image/%2e%2e/director/ID01/metadata/1.root.json",
                "director//ID01/metadata/1.root.json",
                "proposals/root-1/root.json",
            )
        ]
    assert own == [200, 200]
    assert set(foreign) == {403}
    assert any("director/ID01" in reason for _, reason in doors.noted(CentreAct.CONNECTION_REFUSED))


# --- certificates that do not hold ----------------------------------------------------------------


async def test_revocation_ends_the_stream_the_fetches_and_the_renewals(doors, tmp_path):
    """At once, for a stream that is open too; and the site may be enrolled again."""
    async with doors.open() as service:
        site = await doors.enrol("TX01", tmp_path)
        async with site.connected():
            await until(lambda: service.connected == 1)
            await asyncio.to_thread(doors.office.revoke, "TX01", "laptop stolen")
            await until(lambda: service.connected == 0)
        error = await hello(site)
        assert await asyncio.to_thread(fetched, site, "image/metadata/timestamp.json") == 403
        with pytest.raises(Rejected, match="revoked: laptop stolen"):
            await site.identity.renew(doors.fleet)
        assert doors.register.sites()[-1].state == "revoked"
        again = await doors.enrol("TX01", tmp_path)
        assert await hello(again) is None
    assert "revoked: laptop stolen" in error.details()
    assert any("laptop stolen" in reason for _, reason in doors.noted(CentreAct.CONNECTION_REFUSED))


async def test_another_authoritys_certificate_is_refused(doors, tmp_path):
    """A certificate that names the site and that somebody else signed."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path)
        request = x509.load_pem_x509_csr(
            agent.signing_request("TX01", site.identity.files.load_or_create_key()).encode()
        )
        forged = Authority(tmp_path / "forged")
        forged.begin()
        made = forged.site_certificate("TX01", request)
        site.identity.files.certificate.write_bytes(made.public_bytes(Encoding.PEM))
        error = await hello(site)
        with pytest.raises((ssl.SSLError, urllib3.exceptions.HTTPError)):
            await asyncio.to_thread(fetched, site, "image/metadata/timestamp.json")
        await until(lambda: any("TLS" in why for _, why in doors.noted(CentreAct.CONNECTION_REFUSED)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_expired_certificate_is_refused(doors, tmp_path):
    """Its time is over: neither stream nor fetch; the refusal is on the record."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path)
        key = site.identity.files.load_or_create_key()
        request = x509.load_pem_x509_csr(agent.signing_request("TX01", key).encode())
        late = Authority(doors.layout.data_dir / "enrolment", site_life=timedelta(seconds=-10))
        made = late.site_certificate("TX01", request)
        doors.register.add("TX01", made)
        site.identity.files.certificate.write_bytes(made.public_bytes(Encoding.PEM))
        error = await hello(site)
        with pytest.raises((ssl.SSLError, urllib3.exceptions.HTTPError)):
            await asyncio.to_thread(fetched, site, "image/metadata/timestamp.json")
        await until(lambda: any("expired" in why for _, why in doors.noted(CentreAct.CONNECTION_REFUSED)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_ends_when_its_certificate_expires(doors, tmp_path, monkeypatch):
    """An open stream outlives neither revocation nor the certificate."""
    monkeypatch.setattr("control_plane.rpc.fleet.STANDING_PERIOD_S", 0.1)
    async with doors.open() as service:
        site = await doors.enrol("TX01", tmp_path)
        async with site.connected():
            await until(lambda: service.connected == 1)
            monkeypatch.setattr(
                "control_plane.enrolment.admission.utc_now", lambda: utc_now() + timedelta(days=91)
            )
            await until(lambda: service.connected == 0)


# --- renewal --------------------------------------------------------------------------------------


async def test_the_agent_renews_before_the_end_and_the_old_one_still_holds(doors, tmp_path, monkeypatch):
    """At two thirds of its life, with the same key, by the agent itself."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path)
        files = site.identity.files
        before, key = load_certificate(files.certificate), files.key.read_bytes()
        keeping = asyncio.create_task(site.identity.keep(doors.fleet, 0.05))
        await asyncio.sleep(0.3)
        assert load_certificate(files.certificate) == before  # a day old certificate is left alone
        monkeypatch.setattr("edge_agent.identity.utc_now", lambda: utc_now() + timedelta(days=61))
        await until(lambda: load_certificate(files.certificate) != before)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert await hello(site) is None
        assert await asyncio.to_thread(fetched, site, "image/metadata/timestamp.json") == 200
    assert files.key.read_bytes() == key
    assert ("TX01", "") in doors.noted(CentreAct.CERTIFICATE_RENEWED)


async def test_renewing_for_another_key_is_refused(doors, tmp_path):
    """Who borrows a stream cannot move the site's identity to a key of its own."""
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path / "a")
        stranger = IdentityFiles(tmp_path / "b").load_or_create_key()
        request = enrolment_pb2.RenewRequest(certificate_request=agent.signing_request("TX01", stranger))
        async with grpc.aio.secure_channel(doors.fleet, site.identity.channel_credentials()) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="renewing keeps the key"):
                await enrolment_pb2_grpc.EnrolmentStub(channel).Renew(request)


async def test_renewing_needs_a_certificate(doors):
    """The enrolment port asks for none, and so renews nothing."""
    async with doors.open():
        authority = doors.layout.authority().path.read_bytes()
        credentials = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(doors.enrol_at, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="needs the certificate in use"):
                await enrolment_pb2_grpc.EnrolmentStub(channel).Renew(enrolment_pb2.RenewRequest())


# --- in clear -------------------------------------------------------------------------------------


async def test_nothing_is_said_in_clear(doors, tmp_path):
    """A client without TLS gets no word out of any of the three doors."""
    async with doors.open():
        for address in (doors.fleet, doors.enrol_at):
            async with grpc.aio.insecure_channel(address) as channel:
                call = fleet_pb2_grpc.FleetStub(channel).Connect()
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.write(fleet_pb2.SiteMessage(hello=fleet_pb2.Hello(site_id="TX01")))
        with urllib3.PoolManager(retries=False) as pool, pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("GET", f"http://{doors.repositories}/repository/image/metadata/timestamp.json")


async def test_who_shows_no_certificate_is_told_nothing(doors):
    """TLS of the centre alone opens enrolment, and neither the stream nor the repositories."""
    authority = doors.layout.authority().path
    context = ssl.create_default_context(cafile=str(authority))
    async with doors.open():
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        async with grpc.aio.secure_channel(doors.fleet, credentials) as channel:
            call = fleet_pb2_grpc.FleetStub(channel).Connect()
            with pytest.raises(grpc.aio.AioRpcError):
                await call.write(fleet_pb2.SiteMessage(hello=fleet_pb2.Hello(site_id="TX01")))
        url, pool = f"{doors.url}/image/metadata/timestamp.json", urllib3.PoolManager(ssl_context=context)
        with pool, pytest.raises((ssl.SSLError, urllib3.exceptions.HTTPError)):
            await asyncio.to_thread(pool.request, "GET", url, timeout=20, retries=False)


def test_the_fingerprint_is_that_of_the_certificate(doors):
    """Any TLS tool shows the same: sha256 of the certificate in DER."""
    certificate = load_certificate(doors.layout.authority().path)
    assert doors.fingerprint == fingerprint(certificate.public_bytes(Encoding.DER))
