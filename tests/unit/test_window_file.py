"""A window in a CSV file: read as it stands, or refused with the place of what is wrong."""

import numpy as np
import pytest

from control_plane.serving import window_file
from control_plane.serving.window_file import read_window_file
from shared.errors import Rejected

TAGS = ("flow", "speed")


def written(tmp_path, text):
    path = tmp_path / "up.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_tags_are_found_whatever_stands_beside_and_between_them(tmp_path):
    """Columns in any order, a column of times, a byte order mark, blank lines; an empty cell is a bad one."""
    text = "\ufefftimestamp, speed ,flow\n2026-01-01,1485,412\n\n2026-01-02,,411.5\n2026-01-03,nan,1e99\n"
    found = read_window_file(written(tmp_path, text), TAGS)
    assert found.tags == TAGS
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, [[412, 1485], [411.5, np.nan], [np.nan, np.nan]])


def test_without_tags_every_column_is_taken_as_it_stands(tmp_path):
    assert read_window_file(written(tmp_path, "b,a\n1,2\n")).tags == ("b", "a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flow,speed\n1,2\n\n1,x\n", "up.csv, line 4, speed: found 'x'; expected a number, or nothing"),
        ("flow,speed\n1\n", "up.csv, line 2: found 1 cells; the header has 2"),
        ("flow\n1\n", "up.csv, line 1: has no column speed; found flow"),
        ("flow;speed\n1;2\n", "found flow;speed; columns are parted by commas"),
        ("flow,speed,flow\n1,2,3\n", "column 'flow' is there twice"),
        ("flow,speed\n", "found 0 rows after the header"),
        ("", "found an empty file"),
        (b"flow,speed\n\xff,2\n", "no UTF-8 text at byte 11"),
        ('flow,speed\n"1,2\n', "is no CSV"),
        ("flow,speed\n" + "1,2\n" * (window_file.ROWS_MAX + 1), "found 10001 rows"),
        (",".join(map(str, range(1001))), "found 1001 columns; at most 1000"),
        (b"0" * (window_file.FILE_BYTES_MAX + 1), "8.4 MB; at most 8.4 MB are read"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, words):
    """The name that the person knows, the line as an editor counts it, the column by its header."""
    with pytest.raises(Rejected) as caught:
        read_window_file(written(tmp_path, text), TAGS, "up.csv")
    assert words in str(caught.value)
