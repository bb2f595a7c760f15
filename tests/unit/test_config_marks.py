"""Each row's header names the configuration it was made under."""

from edge_agent.forward.config_marks import MARKS_MAX, ConfigMarks


def test_rows_keep_the_hash_they_were_made_under():
    marks = ConfigMarks("a")
    marks.change("store", 10, "b")
    marks.change("store", 20, "a")
    assert [marks.of("store", seq) for seq in (1, 10, 11, 20, 21)] == ["a", "a", "b", "b", "a"]


def test_an_outbox_begun_anew_carries_the_newest_hash():
    """Its row numbers begin again; none of them is older than the last change."""
    marks = ConfigMarks("a")
    marks.change("store", 1_000, "b")
    assert marks.of("another", 1) == "b"


def test_what_is_kept_is_bounded():
    marks = ConfigMarks("first")
    for n in range(3 * MARKS_MAX):
        marks.change("store", n, f"{n}")
    assert marks.of("store", 3 * MARKS_MAX) == f"{3 * MARKS_MAX - 1}"
    assert len(marks._marks) == MARKS_MAX
