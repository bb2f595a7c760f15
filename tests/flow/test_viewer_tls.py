"""The viewer before the inference server as it stands beyond loopback: TLS, and a token of its own."""

import asyncio

import pytest

from control_plane.commands import viewer as command
from control_plane.viewer.variation import AS_LOADED, Variation
from shared.errors import ConfigError
from tests.support import golden
from tests.support.inference import behind_tls
from tests.support.kafka_tls import authority
from tests.support.releases import Centre

WINDOW = next(iter(golden.windows_at_the_edge(golden.release()[0])))


@pytest.fixture
def centre(tmp_path):
    made = Centre(tmp_path)
    made.publish(*golden.release())
    return made


@pytest.fixture
def open_viewer(centre, monkeypatch):
    """The command with its page left out; what the page asks with it."""

    def opened(server, **wrong):
        found = []
        dialled = server._replace(**wrong)
        monkeypatch.setenv("PM_INFERENCE_TOKEN", dialled.token)
        monkeypatch.setattr(command, "serve", lambda blocks, *_: blocks())
        monkeypatch.setattr(command, "_page", lambda _, explorer: found.append(ask(explorer)))
        config = centre.folder / "fleet.yaml"
        config.write_text("{TX01: {R1: {coolant_pump: {}}}}")
        where = {"inference": dialled.address, "inference_ca": dialled.authority}
        command.viewer(config, centre.layout.data_dir, **where)
        return found[0]

    return opened


def ask(explorer):
    [result] = explorer.ask([Variation(AS_LOADED, WINDOW, {})], golden.release()[0])
    return result


async def test_the_viewer_is_answered_over_tls_by_whom_its_authority_vouches_for(centre, open_viewer):
    async with behind_tls(centre) as server:
        while not (found := await asyncio.to_thread(open_viewer, server)).answer:
            assert "NOT_FOUND" in found.trouble.what, found.trouble  # until the release is loaded
        assert found.answer.model_version == golden.release()[0].folder


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"token": "of-yesterday"}, "control-plane token add"),
        ({"authority": "another"}, "--inference-ca FILE"),
    ],
)
async def test_a_wrong_token_or_authority_is_said_with_its_remedy(
    centre, open_viewer, tmp_path, wrong, remedy
):
    if "authority" in wrong:
        wrong = {"authority": authority(tmp_path)}
    async with behind_tls(centre) as server:
        found = await asyncio.to_thread(open_viewer, server, **wrong)
    assert found.answer is None
    assert remedy in found.trouble.remedy


async def test_a_server_beyond_loopback_is_never_asked_in_clear(centre, open_viewer):
    """Nor is the token shown to it."""
    async with behind_tls(centre) as server:
        with pytest.raises(ConfigError, match="give --inference-ca"):
            open_viewer(server._replace(address="centre.example:50051"), authority=None)
