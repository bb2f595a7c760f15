"""What a subscription brought, and what may be made of it: no socket."""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sources.opcua_connection import OpcUaConnection
from edge_agent.sources.opcua_moments import MOMENTS_MAX, Moments, number
from shared.errors import ConfigError
from shared.opcua_nodes import COUNTER, expanded, variable_identifier
from shared.reactor_config import parse_fleet
from shared.schemas import ComponentId, Quality

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PUMP = ComponentId("TX01", "R1", "coolant_pump")


def at(tick: int) -> datetime:
    return BEGAN + timedelta(seconds=tick)


def value(found: object, tick: int | None = 0, status: str = "Good") -> ua.DataValue:
    code = ua.StatusCode(getattr(ua.StatusCodes, status))
    return ua.DataValue(ua.Variant(found), code, SourceTimestamp=None if tick is None else at(tick))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=60),
    st.integers(0, 4),
)
def test_whole_moment_has_every_variable_of_that_moment_and_none_of_another(arrivals, since):
    """Whatever arrives in whatever order, a moment is given whole, unmixed, and not older than asked for."""
    moments = Moments("abc")
    first_seen = []
    for name, tick in arrivals:
        moments.put(name, value(float(tick), tick))
        if tick not in first_seen:
            first_seen.append(tick)
    whole = moments.newest_whole(at(since))
    complete = [t for t in first_seen if {n for n, tick in arrivals if tick == t} == set("abc")]
    allowed = [t for t in complete if since in first_seen and first_seen.index(t) >= first_seen.index(since)]
    if not allowed:
        assert whole is None
    else:
        assert {v.Value.Value for v in whole.values()} == {float(allowed[-1])}
        assert whole.keys() == set("abc")


def test_moments_are_bounded():
    """The oldest is forgotten first."""
    moments = Moments("a")
    for tick in range(MOMENTS_MAX + 5):
        moments.put("a", value(1.0, tick))
    assert moments.at(at(4)) == {}
    assert moments.at(at(5)).keys() == {"a"}


def test_refusal_without_a_source_time_is_of_every_moment_until_a_value_comes():
    """A variable that the server lacks keeps no other from being whole."""
    moments = Moments("ab")
    moments.put("b", value(None, None, "BadNodeIdUnknown"))
    moments.put("a", value(1.0, 1))
    assert number(moments.newest_whole(at(1))["b"]) == Quality.DEVICE_EXCEPTION
    moments.put("b", value(2.0, 2))
    assert moments.newest_whole(at(1)) is None
    moments.put("a", value(2.0, 2))
    assert number(moments.newest_whole(at(1))["b"]) == 2.0


def test_number_without_a_source_time_is_of_no_moment():
    """Nothing says which cycle it belongs to."""
    moments = Moments("a")
    moments.put("a", value(1.0, None))
    assert moments.newest_whole(None) is None
    assert moments.at(None) == {}


def test_nothing_survives_a_connection():
    """What another connection brought is forgotten."""
    moments = Moments("ab")
    moments.put("a", value(1.0, 1))
    moments.put("b", value(None, None, "BadNodeIdUnknown"))
    moments.clear()
    assert (moments.newest, moments.at(at(1)), moments.newest_whole(at(1))) == ({}, {}, None)


def published(number: int, found: float) -> ua.PublishResult:
    item = ua.MonitoredItemNotification(ua.UInt32(0), value(found))
    return ua.PublishResult(
        NotificationMessage=ua.NotificationMessage(
            SequenceNumber=number, NotificationData=[ua.DataChangeNotification(MonitoredItems=[item])]
        )
    )


@pytest.mark.parametrize(
    ("numbers", "taken"),
    [([1, 2, 3], 3), ([7, 8, 9], 3), ([2**32 - 1, 1, 2], 3), ([1, 3, 4], 1), ([1, 2, 1], 2), ([1, 2, 2], 2)],
)
async def test_notification_that_is_missing_or_comes_again_ends_the_subscription(numbers, taken):
    """What an old notification says is taken for nothing, nor what comes after a gap."""
    brought, closed = [], []
    connection = OpcUaConnection(
        "opc.tcp://127.0.0.1:1/",
        1.0,
        0.5,
        None,
        ["a"],
        [],
        lambda _, v: brought.append(v.Value.Value),
        lambda: None,
    )
    connection._drop = lambda: asyncio.sleep(0, closed.append(True))  # there is no socket to close
    connection._published_at = time.monotonic()
    for sequence_number in numbers:
        if not closed:
            connection._on_publish(None, published(sequence_number, float(sequence_number)))
            await connection.wait_until(lambda: True)
    assert brought == [float(n) for n in numbers[:taken]]
    assert bool(closed) == (taken < len(numbers))


@pytest.mark.parametrize(
    ("found", "status", "expected"),
    [
        (1, "Good", 1.0),
        (True, "Good", 1.0),
        (2.5, "GoodClamped", 2.5),
        (2.5, "UncertainSubNormal", Quality.DEVICE_EXCEPTION),
        (2.5, "UncertainNoCommunicationLastUsableValue", Quality.STALE),
        (2.5, "BadShutdown", Quality.DISCONNECTED),
        (None, "BadWaitingForInitialData", Quality.DEVICE_EXCEPTION),
        ("7", "Good", Quality.NOT_A_NUMBER),
        ([1.0], "Good", Quality.NOT_A_NUMBER),
        (None, "Good", Quality.NOT_A_NUMBER),
    ],
)
def test_only_a_good_number_is_a_number(found, status, expected):
    """Text, arrays and nothing are no numbers; what is not good is none either."""
    assert number(value(found, 0, status)) == expected


def test_info_bits_of_a_status_do_not_hide_its_quality():
    """OPC UA part 4, section 7.39: the lower 16 bits say more of the same status."""
    status = ua.StatusCode(ua.StatusCodes.BadTimeout | 0x0480)
    assert number(ua.DataValue(ua.Variant(1.0), status)) == Quality.TIMEOUT
    assert math.isnan(number(value(math.nan)))


def test_identifiers_are_distinct_and_no_tag_can_be_the_counter():
    """Names may hold dots, never a slash or a hash."""
    components = parse_fleet(
        {"TX01": {"R1": {"coolant_pump": {}, "heat_exchanger": {}}}}, "test"
    ).components()
    found = [variable_identifier(c, n) for c, part in components.items() for n in (*part.tags, COUNTER)]
    assert len(found) == len(set(found)) == 17
    assert expanded(found[0]) == "nsu=urn:pm-stack-smr:plant;s=R1/coolant_pump/shaft_speed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ns=2;s=Pump.speed", "index may change with every start"),
        ("s=Pump.speed", "expected nsu="),
        ("nsu=urn:a;x=1", "expected nsu="),
        ("nsu=urn:a;s=", "expected nsu="),
        ("nsu=urn:a;i=-1", "whole number from 0 to 4294967295"),
        ("nsu=urn:a;i=4294967296", "whole number from 0 to 4294967295"),
        ("nsu=urn:a;g=12", "takes a GUID"),
        ("nsu=urn:a;b=***", "takes base64"),
    ],
)
def test_node_that_is_not_stable_or_not_one_is_refused_with_its_place(text, told):
    """An index is not stable; the message says what is."""
    tags = {"a": {"unit": "1", "node": text}}
    with pytest.raises(ConfigError, match=rf"TX01\.R1\.coolant_pump\.tags\.a\.node: found .*{told}"):
        parse_fleet({"TX01": {"R1": {"coolant_pump": {"tags": tags}}}}, "test")


def test_two_tags_of_one_node_are_refused():
    """The second would be another tag's number."""
    tags = {name: {"unit": "1", "node": "nsu=urn:a;s=x"} for name in "ab"}
    with pytest.raises(ConfigError, match=r"coolant_pump\.b and R1\.coolant_pump\.a both name the node"):
        parse_fleet({"TX01": {"R1": {"coolant_pump": {"tags": tags}}}}, "test")
