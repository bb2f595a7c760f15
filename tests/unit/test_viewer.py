"""The viewer's rules without its page: variations, words, and who may reach it."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest

from control_plane.commands import viewer as command
from control_plane.serving.client import Refused, Unanswered
from control_plane.serving.published_specs import NoRelease
from control_plane.viewer import words
from control_plane.viewer.explorer import Result, Trouble, load_trouble, trouble_of
from control_plane.viewer.server import ViewerSettings, guarded
from control_plane.viewer.variation import AS_LOADED, Variation, changed, name_of, varied
from shared.errors import ConfigError, Rejected, Retryable
from shared.reactor_config import Tag
from shared.schemas import ComponentId, Window
from shared.wire import rul_pb2

HOSTILE = "<img src=x onerror=alert(1)>"


def window():
    values = np.array([[1.0, 10.0, np.nan], [2.0, 11.0, np.nan], [3.0, np.nan, np.nan]], np.float32)
    place = ComponentId("S", "R", "pump")
    return Window(place, "pump", None, datetime(2026, 1, 1, tzinfo=UTC), ("flow", "heat", "lost"), values)


def column(found, tag):
    return found.values[:, found.tags.index(tag)].tolist()


def test_a_changed_tag_is_shifted_so_that_its_noise_stays():
    """In the last cycles alone, until its newest good value is the given one; the others stay as they are."""
    before = window()
    found = varied(before, {"flow": 13.0, "heat": 21.0}, 2)
    assert column(found, "flow") == [1.0, 12.0, 13.0]
    assert column(found, "heat")[:2] == [10.0, 21.0]
    assert np.isnan(column(found, "heat")[2])
    assert np.isnan(column(found, "lost")).all()
    assert column(before, "flow") == [1.0, 2.0, 3.0]


def test_a_sensor_can_be_taken_away_and_a_lost_one_given_a_value():
    found = varied(window(), {"flow": None, "lost": 5.0}, 2)
    assert np.isnan(column(found, "flow")).tolist() == [False, True, True]
    assert column(found, "lost")[1:] == [5.0, 5.0]


def test_only_what_differs_is_a_change_and_names_the_variation():
    before = {"bearing_temperature": 71.2, "flow": 3.0, "lost": None}
    tags = {"bearing_temperature": Tag(unit="degC", register={"address": 0})}
    assert changed(before, dict(before)) == {}
    changes = changed(before, {"bearing_temperature": 85, "flow": None, "lost": None})
    assert changes == {"bearing_temperature": 85, "flow": None}
    assert name_of(changes, tags) == "Bearing temperature 85 °C, Flow away"
    assert name_of({}, tags) == AS_LOADED
    assert name_of(dict.fromkeys("abc", 1.0), tags) == "3 tags changed"
    assert name_of({"flow": 500.0}, tags) == "Flow 500"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (Unanswered(grpc.StatusCode.UNAVAILABLE, "x"), "control-plane serve --part inference"),
        (Unanswered(grpc.StatusCode.UNAUTHENTICATED, "x"), "control-plane token add"),
        (Refused(grpc.StatusCode.NOT_FOUND, "x"), "control-plane release propose"),
        (Refused(grpc.StatusCode.INVALID_ARGUMENT, "x"), "take a change back"),
    ],
)
def test_a_failed_call_is_said_with_its_remedy(error, remedy):
    assert remedy in trouble_of(error).remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (Retryable("no table telemetry yet"), "Start ingest"),
        (NoRelease("no published model"), "control-plane release propose"),
        (Rejected("line 3"), "load again"),
    ],
)
def test_a_failed_load_is_said_with_its_remedy(error, remedy):
    found = load_trouble(error)
    assert (found.what, remedy in found.remedy) == (str(error), True)


def test_a_number_that_was_withheld_is_nowhere_on_the_page():
    """Whatever stands in the message beside the state."""
    said = rul_pb2.PredictRULResponse(
        predicted_rul=777,
        rul_low=666,
        rul_high=888,
        rul_state="withheld",
        withheld_because="sensor_stuck:flow",
    )
    result = Result(Variation("v", window(), {}), answer=said)
    row = words.comparison([result], loaded())
    text = words.headline(said) + row
    assert "flow stuck at one value. A sound sensor never stands still" in text
    assert not any(number in text for number in ("777", "666", "888"))


def test_what_a_person_or_a_server_wrote_is_text():
    trouble = words.trouble(Trouble(HOSTILE, HOSTILE))
    said = rul_pb2.PredictRULResponse(rul_state="ok", model_version=HOSTILE, prediction_id=HOSTILE)
    result = Result(Variation(HOSTILE, window(), {}), answer=said)
    assert HOSTILE not in trouble + words.answer(result, loaded()) + words.comparison([result], loaded())


def loaded():
    from control_plane.viewer.sources import Loaded
    from tests.support import golden

    return Loaded(window(), golden.release()[0], "a file", {})


@pytest.mark.parametrize("listen", ["0.0.0.0:7860", "192.0.2.1:7860"])
def test_beyond_loopback_it_speaks_tls_to_who_shows_a_token(listen):
    """Each that is missing is named; with all three it may."""
    pem = Path("x.pem")
    with pytest.raises(ConfigError, match="--tls-certificate, --tls-key, --tokens"):
        ViewerSettings(listen).check()
    with pytest.raises(ConfigError, match="give --tokens"):
        ViewerSettings(listen, pem, pem).check()
    ViewerSettings(listen, pem, pem, pem).check()
    ViewerSettings("127.0.0.1:7860").check()


@pytest.mark.parametrize(
    ("host", "status"),
    [(b"127.0.0.1:7860", 200), (b"localhost:7860", 200), (b"evil.example:7860", 421), (b"", 421)],
)
async def test_it_answers_to_loopbacks_names_alone_and_keeps_the_page_to_itself(host, status):
    """A page from elsewhere cannot come in under a name of its own; nothing is fetched from elsewhere."""
    sent = []

    async def inner(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    await guarded(inner, own_hosts=True)({"type": "http", "headers": [(b"host", host)]}, None, send)
    assert sent[0]["status"] == status
    if status == 200:
        assert b"connect-src 'self'" in dict(sent[0]["headers"])[b"content-security-policy"]


def test_without_gradio_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'pm-stack-smr-control-plane\[viewer\]'"):
        command.viewer(tmp_path / "fleet.yaml", tmp_path)
