"""The register codec and the request planner: no neighbour's register, ever (invariant 3)."""

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.sources.modbus_layout import Layout
from edge_agent.sources.plan import CYCLE, plan
from shared.modbus_registers import as_read, decode, encode
from shared.reactor_config import REGISTERS_BY_TYPE, Component, Register

INTEGERS = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I"}
ORDERS = st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"])


def register(kind: str = "float32", order: str = "ABCD", **more: float) -> Register:
    return Register.model_validate({"address": 0, "type": kind, "order": order} | more)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", (0x0102, 0x0304)),
        ("CDAB", (0x0304, 0x0102)),
        ("BADC", (0x0201, 0x0403)),
        ("DCBA", (0x0403, 0x0201)),
    ],
)
def test_order_names_the_bytes_as_sent(order, words):
    """0x01020304 sent in each order of the field."""
    assert encode(register("uint32", order), 0x01020304) == words
    assert decode(register("uint32", order), words) == 0x01020304


@pytest.mark.parametrize("kind", REGISTERS_BY_TYPE)
@given(order=ORDERS, data=st.data())
def test_words_survive_decoding_and_encoding(kind, order, data):
    """Whatever a device sends, but for NaN, encodes back to the same words."""
    count = REGISTERS_BY_TYPE[kind]
    words = tuple(data.draw(st.lists(st.integers(0, 0xFFFF), min_size=count, max_size=count)))
    value = decode(register(kind, order), words)
    if not math.isnan(value) and value != 0:  # -0.0 + offset 0.0 is 0.0
        assert encode(register(kind, order), value) == words


@given(order=ORDERS, value=st.floats(width=32, allow_nan=False))
def test_float32_is_read_exactly(order, value):
    """A float32 written is the float32 read, infinities included."""
    assert as_read(register("float32", order), value) == value


@given(
    kind=st.sampled_from(list(INTEGERS)),
    order=ORDERS,
    raw=st.integers(-32_768, 32_767),
    scale=st.sampled_from([0.01, 0.1, 0.5, 1, 2, 10, -0.1]),
    offset=st.floats(-1000, 1000),
)
def test_scale_and_offset_are_undone_to_the_nearest_step(kind, order, raw, scale, offset):
    """encode is the inverse of `raw * scale + offset`."""
    if not kind.startswith("int"):
        raw = abs(raw)
    target = register(kind, order, scale=scale, offset=offset)
    assert decode(target, encode(target, raw * scale + offset)) == raw * scale + offset


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int16", 40_000), ("uint16", -1), ("uint32", math.nan), ("int32", math.inf), ("float32", 1e39)],
)
def test_number_that_does_not_fit_is_refused(kind, value):
    """Never a wrapped or truncated number."""
    with pytest.raises(ValueError, match=f"does not fit {kind}"):
        encode(register(kind), value)


def test_nan_travels_in_a_float():
    """A hole in a recording reaches the agent as NaN."""
    assert math.isnan(as_read(register("float32", "CDAB"), math.nan))
    assert struct.pack(">2H", *encode(register(), math.nan)) == struct.pack(">f", math.nan)


@st.composite
def components(draw) -> Component:
    """Components with registers of all types, in both tables, with holes between."""
    tags, end = {}, {"holding": 0, "input": 0}
    for index in range(draw(st.integers(1, 60))):
        table = draw(st.sampled_from(["holding", "holding", "input"]))
        kind = draw(st.sampled_from(list(REGISTERS_BY_TYPE)))
        address = end[table] + draw(st.sampled_from([0, 0, 0, 0, 1, 7]))
        end[table] = address + REGISTERS_BY_TYPE[kind]
        place = {"table": table, "address": address, "type": kind, "order": draw(ORDERS)}
        place |= {
            "scale": draw(st.sampled_from([1.0, 0.1, -2.0])),
            "offset": draw(st.sampled_from([0.0, 3.5])),
        }
        tags[f"t{index}"] = {"unit": "1", "register": place}
    cycle = {"table": "holding", "address": end["holding"], "type": "uint32"}
    return Component.model_validate({"type": "x", "unit": 1, "tags": tags, "cycle_register": cycle})


@settings(max_examples=150, deadline=None)
@given(component=components(), limit=st.sampled_from([4, 10, 125]))
def test_plan_reads_each_value_whole_once_and_no_hole(component, limit):
    """Each field in one block, blocks contiguous, within the device's limit, of one table, and the fewest."""
    blocks = plan(component.model_copy(update={"registers_per_read_max": limit}))
    names = [field.name for block in blocks for field in block.fields]
    assert sorted(names) == sorted([*component.tags, CYCLE])
    for block in blocks:
        assert block.count <= limit
        assert sum(field.register.count for field in block.fields) == block.count
        assert {field.register.table for field in block.fields} == {block.table}
    for left, right in pairwise(blocks):
        adjoins = left.table == right.table and left.address + left.count == right.address
        assert not adjoins or left.count + right.fields[0].register.count > limit


def gapped(**more) -> Component:
    """Floats at 2, 4, 10 and 20: holes at 6..9 and 12..19."""
    tags = {f"t{a}": {"unit": "1", "register": {"address": a}} for a in (2, 4, 10, 20)}
    return Component.model_validate({"type": "x", "unit": 1, "tags": tags} | more)


@pytest.mark.parametrize(
    ("more", "requests"),
    [
        ({}, ["2..5", "10..11", "20..21"]),
        ({"readable_gaps": [{"address": 6, "count": 4}]}, ["2..11", "20..21"]),
        ({"readable_gaps": [{"address": 6, "count": 3}]}, ["2..5", "10..11", "20..21"]),
        ({"readable_gaps": [{"address": 6, "count": 4, "table": "input"}]}, ["2..5", "10..11", "20..21"]),
        (
            {"readable_gaps": [{"address": 6, "count": 4}, {"address": 12, "count": 8}]},
            ["2..21"],
        ),
        (
            {
                "readable_gaps": [{"address": 6, "count": 4}, {"address": 12, "count": 8}],
                "registers_per_read_max": 12,
            },
            ["2..11", "20..21"],
        ),
    ],
)
def test_read_passes_over_a_hole_only_where_the_whole_of_it_is_named(more, requests):
    """A gap of the right table that covers the hole is bridged, within the device's limit; no other."""
    assert [block.request for block in plan(gapped(**more))] == [f"holding {r}" for r in requests]


@settings(max_examples=150, deadline=None)
@given(component=components(), limit=st.sampled_from([4, 10, 125]), data=st.data())
def test_layout_gives_each_tag_its_own_words_as_the_codec_does(component, limit, data):
    """Whatever bytes a device sends: the arrays' numbers are `decode`'s, bit for bit, NaN for NaN."""
    component = component.model_copy(update={"registers_per_read_max": limit})
    image = data.draw(st.binary(min_size=1400, max_size=1400))
    words = {"holding": struct.unpack(">700H", image), "input": struct.unpack(">700H", image[::-1])}
    blocks = plan(component)
    layout = Layout(component, blocks)
    answers = b"".join(
        struct.pack(f">{b.count}H", *words[b.table][b.address : b.address + b.count]) for b in blocks
    )
    expected = {
        name: decode(r, words[r.table][r.address : r.address + r.count])
        for name, r in ((name, tag.register_) for name, tag in component.tags.items())
    }
    numbers = dict(zip(layout.names, layout.numbers(answers).tolist(), strict=True))
    assert {n: struct.pack(">d", v) for n, v in numbers.items() if not math.isnan(v)} == {
        n: struct.pack(">d", v) for n, v in expected.items() if not math.isnan(v)
    }
    assert {n for n, v in numbers.items() if math.isnan(v)} == {
        n for n, v in expected.items() if math.isnan(v)
    }


@settings(max_examples=50, deadline=None)
@given(component=components())
def test_halves_cover_the_block(component):
    """Both have fields, and together the block's, in order."""
    for block in plan(component):
        if len(block.fields) > 1:
            low, high = block.halves()
            assert low.fields + high.fields == block.fields
            assert low.fields
            assert high.fields
