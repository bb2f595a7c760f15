"""The fast RFC 8785 writer and the reference one write the same bytes."""

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.canonical import canonical_json

EXACT = 2**53 - 1  # beyond it RFC 8785 has no integers
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT, EXACT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**7), 10**7).map(float)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500)
@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_both_writers_write_the_same_bytes(value):
    """Numbers of every size, whole floats, exponents, every character, any nesting."""
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (1e-7, "1e-7"), (1e-6, "0.000001"), (5e-5, "0.00005"), (0.002, "0.002"),
        (1e16, "10000000000000000"), (1e21, "1e+21"), (333333333.33333329, "333333333.3333333"),
        (EXACT, "9007199254740991"), ("\u20ac\x0f\nA'\"\\", '"\u20ac\\u000f\\nA\'\\"\\\\"'),
        ("\x7f", '"\x7f"'), ("a,1.0]", '"a,1.0]"'),
    ],
)  # fmt: skip
def test_numbers_and_texts_are_as_the_rfc_writes_them(value, text):
    """The RFC's own examples among them, each as the only value and as one of several."""
    assert canonical_json({"a": value}) == f'{{"a":{text}}}'.encode()
    assert canonical_json({"b": [value, value], "a": 0}) == f'{{"a":0,"b":[{text},{text}]}}'.encode()


def test_names_are_sorted_as_the_rfc_sorts_them():
    """By UTF-16 units: a name beyond the basic plane comes before U+FB33."""
    assert (
        canonical_json({"\ufb33": 1, "\U0001f600": 2, "1": 3}) == '{"1":3,"\U0001f600":2,"\ufb33":1}'.encode()
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), EXACT + 1, -EXACT - 1])
def test_what_the_rfc_cannot_write_is_refused(value):
    """No number that another reader would take for another one."""
    with pytest.raises(ValueError, match=r".+"):
        canonical_json({"a": value})
