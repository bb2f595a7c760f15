"""The inference service as the centre opens it: who may call, what is recorded, what is told of it."""

import asyncio
import json
import re
import urllib.request
from collections import Counter

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from control_plane import inference_answering
from control_plane.audit.spool import Spool
from control_plane.enrolment.admission import Admission
from control_plane.enrolment.refusals import Refusals
from control_plane.inference_answering import InferenceSettings
from control_plane.inference_door import InferenceDoor
from control_plane.serving import credentials, service, tokens
from control_plane.serving.oip import SERVICE as OPEN_INFERENCE
from control_plane.serving.service import SERVICE
from control_plane.serving.tokens import TokenFile
from shared.errors import ConfigError
from shared.listen import free_port
from shared.onnx_model import OnnxModel, recorded_block
from shared.schemas.window import values_from_blob
from shared.wire import rul_pb2_grpc
from tests.support.doors import Doors
from tests.support.inference import VALUES, code_of, door, request, until, until_served
from tests.support.releases import Centre, make_release, write_release

Code = grpc.StatusCode
NAMES = ("127.0.0.1", "localhost")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(inference_answering, "REFRESH_PERIOD_S", 0.02)
    monkeypatch.setattr(tokens, "LOOK_PERIOD_S", 0.0)
    monkeypatch.setattr(credentials, "LOOK_PERIOD_S", 0.0)


@pytest.fixture
def centre(tmp_path):
    return Centre(tmp_path)


def stub_of(channel):
    return rul_pb2_grpc.RULInferenceServiceStub(channel)


# --- health and metrics ---------------------------------------------------------------------------


async def test_health_says_whether_there_is_a_model(centre):
    """NOT_SERVING until the first release is published, for each service and for the whole."""
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        checks = health_pb2_grpc.HealthStub(channel)

        async def states():
            asked = [health_pb2.HealthCheckRequest(service=name) for name in (SERVICE, OPEN_INFERENCE, "")]
            return {(await checks.Check(each)).status for each in asked}

        assert await states() == {health_pb2.HealthCheckResponse.NOT_SERVING}
        centre.publish(*make_release())

        async def all_serving():
            return await states() == {health_pb2.HealthCheckResponse.SERVING}

        await until(all_serving)


async def test_prometheus_sees_calls_models_and_the_queue(centre):
    """Calls by method and code, windows of a run, the release that is served."""
    manifest, model = make_release()
    centre.publish(manifest, model)
    metrics = f"127.0.0.1:{free_port()}"
    async with door(centre, metrics=metrics) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(stub_of(channel), "coolant_pump/1")
        await code_of(stub_of(channel).PredictRUL(request(VALUES[:-1])))
        page = await asyncio.to_thread(_page, f"http://{metrics}/metrics")
    assert re.search(r'^centre_inference_calls_total\{code="OK",method="PredictRUL"\} 1\.0$', page, re.M)
    assert 'centre_inference_calls_total{code="INVALID_ARGUMENT",method="PredictRUL"} 1.0' in page
    assert f'release="coolant_pump/1",sha256="{manifest.sha256}"}} 1.0' in page
    assert "centre_inference_run_windows_count 1.0" in page
    assert "centre_inference_audit_failures_total 0.0" in page


def _page(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


async def test_metrics_beyond_loopback_are_refused(centre):
    """They are in clear and ask nobody who they are."""
    with pytest.raises(ConfigError, match="--inference-metrics"):
        async with door(centre, metrics="0.0.0.0:9464"):
            pass


# --- the record -----------------------------------------------------------------------------------


async def test_every_answer_is_on_the_record_and_computed_again_to_the_bit(centre):
    """PRD 5, 7.1: found by the answer's prediction id, with its window, model and outputs."""
    manifest, model = make_release()
    centre.publish(manifest, model)
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(stub_of(channel), "coolant_pump/1")
        asked = [request(VALUES + n, site=f"TX{n:02}") for n in range(40)]
        answers = await asyncio.gather(*(stub_of(channel).PredictRUL(each) for each in asked))
    log, again = centre.layout.inference_log(), OnnxModel(manifest, model)
    assert len({answer.prediction_id for answer in answers}) == 40
    for sent, answer in zip(asked, answers, strict=True):
        entry, window = log.find(answer.prediction_id)
        told = entry.prediction
        assert (told.site_id, told.component) == (sent.window.site_id, "coolant_pump")
        assert (told.model_sha256, told.rul_state) == (manifest.sha256, answer.rul_state)
        values = values_from_blob(window, len(manifest.feature_spec.tags))
        found = again.run(values[None], recorded_block(told.runtime))
        assert {name: rows.ravel().tolist() for name, rows in found.items()} == told.raw
    assert log.verify().verified


async def test_a_record_that_cannot_be_written_stops_no_answer(centre, monkeypatch):
    """PRD 7: the failure is counted, the caller has its number."""
    centre.publish(*make_release())
    metrics = f"127.0.0.1:{free_port()}"
    async with door(centre, metrics=metrics) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(stub_of(channel), "coolant_pump/1")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Spool, "append", full)
        answer = await stub_of(channel).PredictRUL(request())
        monkeypatch.undo()
        page = await asyncio.to_thread(_page, f"http://{metrics}/metrics")
    assert (answer.rul_state, answer.model_version) == ("ok", "coolant_pump/1")
    assert "centre_inference_audit_failures_total 1.0" in page


# --- several processes ----------------------------------------------------------------------------


async def test_processes_answer_on_one_port_and_on_one_record(centre):
    """The kernel deals out who calls; metrics and record are those of all, and each takes up a release."""
    centre.publish(*make_release())
    metrics, ids = f"127.0.0.1:{free_port()}", set()
    async with door(centre, metrics=metrics, processes=3) as address:

        async def calls(version):
            """From connections of their own; whether the release answered every one."""
            answers = [await _answer_on_a_new_connection(address) for _ in range(40)]
            ids.update(answer.prediction_id for answer in answers)
            return {answer.model_version for answer in answers} == {f"coolant_pump/{version}"}

        await until(lambda: _listening(address, 3))
        assert await calls(1)
        centre.publish(*make_release(version=2, bias=2))
        await until(lambda: calls(2))

        async def all_are_counted():
            page = await asyncio.to_thread(_page, f"http://{metrics}/metrics")
            return f'calls_total{{code="OK",method="PredictRUL"}} {len(ids)}.0' in page

        await until(all_are_counted)
    log = centre.layout.inference_log()
    assert set(log.prediction_ids()) == ids
    assert log.verify().verified
    assert not _workers()


async def test_a_process_that_ends_ends_the_inference_part(centre):
    """A service manager starts the whole again: nobody looks at a server with half its processes."""
    centre.publish(*make_release())
    settings = InferenceSettings(f"127.0.0.1:{free_port()}", processes=2)
    opened = InferenceDoor(centre.layout, settings, None)
    await opened.open(lambda _: None)
    following = asyncio.create_task(opened.follow())
    try:
        await until(lambda: _listening(settings.listen, 2))
        [worker] = _workers()
        worker.kill()
        with pytest.raises(ExceptionGroup) as caught:
            await following
    finally:
        await opened.close()
    assert caught.group_contains(RuntimeError, match="has ended; the log says why")


async def test_a_port_that_processes_share_is_not_anothers_too(centre, tmp_path):
    """A second centre on it would answer some callers with other models."""
    other = Centre(tmp_path / "other")
    async with door(centre, processes=2) as address:
        opened = InferenceDoor(other.layout, InferenceSettings(address, processes=2), None)
        with pytest.raises(ConfigError, match="cannot be used"):
            await opened.open(print)


async def _answer_on_a_new_connection(address):
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        return await stub_of(channel).PredictRUL(request())


async def _listening(address, many):
    port = int(address.rpartition(":")[2])
    own = psutil.Process()
    found = [each for process in (own, *own.children()) for each in process.net_connections("tcp")]
    return sum(each.status == "LISTEN" and each.laddr.port == port for each in found) == many


def _workers():
    children = psutil.Process().children()
    return [each for each in children if "control_plane.inference_worker" in each.cmdline()]


# --- which release --------------------------------------------------------------------------------


async def test_no_call_fails_while_releases_are_swapped(centre):
    """Hot swap: callers in a loop see one release after the other, and not one error."""
    centre.publish(*make_release())
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(stub_of(channel), "coolant_pump/1")
        seen, stop = Counter(), asyncio.Event()

        async def calls():
            while not stop.is_set():
                seen[(await stub_of(channel).PredictRUL(request())).model_version] += 1

        callers = [asyncio.create_task(calls()) for _ in range(8)]
        for version in range(2, 7):
            release = make_release(version=version, bias=version)
            await asyncio.to_thread(centre.publish, *release)

            async def answered(version=version):
                return seen[f"coolant_pump/{version}"] > 0

            await until(answered)
        stop.set()
        await asyncio.gather(*callers)
    assert set(seen) == {f"coolant_pump/{version}" for version in range(1, 7)}


async def test_a_release_that_answers_otherwise_here_is_not_swapped_in(centre, served_models):
    """Golden check before the swap: the release before it goes on answering."""
    centre.publish(*make_release())
    manifest, _ = make_release(version=2)
    centre.publish(
        manifest.model_copy(update={"golden": make_release(bias=5.0)[0].golden}), make_release()[1]
    )
    models = served_models()
    assert models.get("coolant_pump").manifest.version == 1


def test_a_release_of_a_later_version_is_left_out_and_the_others_are_served(centre, served_models):
    """Its manifest has a field that this version does not know, and may not overlook."""
    centre.publish(*make_release())
    manifest, model = make_release(version=2)
    release = write_release(centre.folder / "out" / "later", manifest, model)
    told = json.loads((release / "manifest.json").read_text()) | {"of_a_later_version": 1}
    (release / "manifest.json").write_text(json.dumps(told))
    centre.publish_unchecked(manifest, release)
    with capture_logs() as said:
        assert served_models().get("coolant_pump").manifest.version == 1
    assert "of_a_later_version: Extra inputs are not permitted; a newer one may" in said[0]["reason"]


async def test_an_alias_chooses_among_what_is_published(centre, served_models):
    """MLflow says which, the approvers' signatures what; what nobody approved is not served for an alias."""
    for version in (1, 2, 3):
        centre.publish(*make_release(version=version, bias=version))
    alias = Alias(coolant_pump=2)
    models = served_models(alias)
    assert models.get("coolant_pump").manifest.version == 2
    assert [each.alias for each in models.served()] == ["champion"]
    for points_to, served in ((1, 1), (9, 3)):
        alias.found, models._ask_at = {"coolant_pump": points_to}, 0.0
        models.refresh()
        assert models.get("coolant_pump").manifest.version == served


class Alias:
    name = "champion"

    def __init__(self, **found):
        self.found = found

    def versions(self):
        return self.found


@pytest.fixture
def served_models(centre):
    def served(aliases=None):
        models = service.PublishedModels(centre.layout.repository, aliases=aliases)
        models.refresh()
        return models

    return served


# --- who may call ---------------------------------------------------------------------------------


async def test_beyond_loopback_it_does_not_start_without_tls(centre):
    """Invariant 9: a token file does not make up for a wire that everybody reads."""
    file = TokenFile(centre.folder / "tokens")
    file.add("dashboard")
    for tokens_file in (None, file.path):
        settings = InferenceSettings(f"0.0.0.0:{free_port()}", tokens=tokens_file)
        with pytest.raises(ConfigError, match="beyond loopback it speaks TLS: give --centre-name"):
            await InferenceDoor(centre.layout, settings, None).open(print)


async def test_a_token_opens_every_method_and_its_lack_none(centre):
    """Health and reflection too: what is behind the door is behind it whole."""
    centre.publish(*make_release())
    file = TokenFile(centre.folder / "tokens")
    token = file.add("dashboard")
    good = [("authorization", f"Bearer {token}")]
    async with door(centre, tokens=file.path) as address, grpc.aio.insecure_channel(address) as channel:
        stub, checks = stub_of(channel), health_pb2_grpc.HealthStub(channel)

        async def answered():
            try:
                return bool((await stub.PredictRUL(request(), metadata=good)).model_version)
            except grpc.aio.AioRpcError as error:
                if error.code() is not Code.NOT_FOUND:  # before the first look at what is published
                    raise
                return False

        await until(answered)
        for bad in ([], [("authorization", "Bearer x")], [("authorization", token)]):
            assert (await code_of(stub.PredictRUL(request(), metadata=bad)))[0] is Code.UNAUTHENTICATED
            asked = checks.Check(health_pb2.HealthCheckRequest(), metadata=bad)
            assert (await code_of(asked))[0] is Code.UNAUTHENTICATED
        file.remove("dashboard")
        code, said = await code_of(stub.PredictRUL(request(), metadata=good))
        assert (code, said) == (Code.UNAUTHENTICATED, "this token is not good, or no longer")


async def test_a_token_over_tls_beyond_loopback(centre):
    """TLS of the centre's name, checked by the caller against its authority."""
    centre.publish(*make_release())
    file = TokenFile(centre.folder / "tokens")
    good = [("authorization", f"Bearer {file.add('dashboard')}")]
    async with door(centre, host="0.0.0.0", names=NAMES, tokens=file.path) as address:
        port, authority = address.rpartition(":")[2], centre.layout.authority().path.read_bytes()
        trust = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trust) as channel:
            code, _ = await code_of(stub_of(channel).PredictRUL(request(), wait_for_ready=True))
            assert code is Code.UNAUTHENTICATED
            asked = health_pb2.HealthCheckRequest()
            await health_pb2_grpc.HealthStub(channel).Check(asked, metadata=good)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert (await code_of(stub_of(channel).PredictRUL(request())))[0] is Code.UNAVAILABLE


async def test_a_site_asks_with_its_certificate_for_itself_alone(centre, tmp_path):
    """Mutual TLS: no certificate, another site's component, a revoked certificate: refused each."""
    centre.publish(*make_release())
    doors = Doors(centre)
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path / "site")
        admission = Admission(doors.register, Refusals(centre.layout.centre_log()))
        async with door(centre, admission, "0.0.0.0", names=NAMES) as address:
            target = f"127.0.0.1:{address.rpartition(':')[2]}"
            async with grpc.aio.secure_channel(target, site.identity.channel_credentials()) as channel:
                await until_served(stub_of(channel), "coolant_pump/1")
                code, said = await code_of(stub_of(channel).PredictRUL(request(site="ID01")))
                assert (code, "TX01 may not ask for ID01" in said) == (Code.PERMISSION_DENIED, True)
                doors.office.revoke("TX01", "laptop stolen")
                code, said = await code_of(stub_of(channel).PredictRUL(request()))
                assert (code, "laptop stolen" in said) == (Code.UNAUTHENTICATED, True)
            trust = grpc.ssl_channel_credentials(centre.layout.authority().path.read_bytes())
            async with grpc.aio.secure_channel(target, trust) as channel:
                assert (await code_of(stub_of(channel).PredictRUL(request())))[0] is Code.UNAVAILABLE
