"""What a log line looks like on a terminal, in a file and in the journal."""

import io
import json
import logging
import os

import pytest
import structlog

from edge_agent.systemd import configure_logs


@pytest.fixture(autouse=True)
def _restored():
    handlers, level = logging.root.handlers, logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers = handlers
    logging.root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_in_a_file_is_one_json_object_with_its_time():
    out = io.StringIO()
    configure_logs(out, {})
    structlog.get_logger().warning("problem", code="kafka_away", problems=["a", "b\nc"])
    structlog.get_logger().debug("not news")
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert list(found) == ["timestamp", "level", "event", "code", "problems"]
    assert found["problems"] == ["a", "b\nc"]


def test_the_journal_gets_each_lines_priority_and_no_second_time(tmp_path):
    """`<3>` of sd-daemon(3), where the stream is the journal's."""
    with (tmp_path / "journal").open("w+") as out:
        found = os.fstat(out.fileno())
        configure_logs(out, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        log = structlog.get_logger()
        log.error("configuration refused")
        log.info("model committed")
        try:
            raise ZeroDivisionError("of all things")
        except ZeroDivisionError:
            log.exception("failed")
        out.seek(0)
        lines = out.read().splitlines()
    assert [line[:3] for line in lines] == ["<3>", "<6>", "<3>"]
    assert json.loads(lines[0][3:]) == {"event": "configuration refused"}
    assert "ZeroDivisionError: of all things" in json.loads(lines[2][3:])["exception"]


def test_a_stream_that_is_not_the_journals_gets_no_priority(tmp_path):
    """systemd's variable is inherited by what the service starts with its own output elsewhere."""
    with (tmp_path / "file").open("w+") as out:
        configure_logs(out, {"JOURNAL_STREAM": "1:1"})
        structlog.get_logger().info("x")
        out.seek(0)
        assert out.read().startswith('{"timestamp"')


def test_a_terminal_gets_colours():
    out = Terminal()
    configure_logs(out, {})
    structlog.get_logger().error("problem", code="kafka_away")
    assert "\x1b[" in out.getvalue()


def test_a_librarys_warning_is_a_line_like_ours():
    out = io.StringIO()
    configure_logs(out, {})
    logging.getLogger("somebody.else").warning("%d of them", 3)
    logging.getLogger("somebody.else").info("chatter")
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert (found["level"], found["event"], found["logger"]) == ("warning", "3 of them", "somebody.else")
