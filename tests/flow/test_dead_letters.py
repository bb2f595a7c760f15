"""What could not be read: listed with origin and reason, put back once."""

import json
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from control_plane.commands.dlq import app
from control_plane.ingest import consumer, replay
from control_plane.ingest.dead_letters import BODY_BYTES, LETTER_BYTES_MAX, letter
from control_plane.ingest.intake import Received
from control_plane.ingest.replay import read_letters
from control_plane.sinks.lake import LakeReader
from shared.envelope import headers
from shared.errors import Retryable
from tests.support.dying_ingest import AtOnce
from tests.support.pipeline import CONFIG_HASH, broker, ingesting, telemetry, until

TIME_MS = 1_700_000_000_000
STORE = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """The group's own wait for more members is tested elsewhere."""
    monkeypatch.setattr(consumer, "Consumer", AtOnce)


def send(address: str, topic: str, seq: int, **changes: object) -> None:
    """A reading as its site would send it, but for the changes."""
    record = telemetry(seq)
    marks = {**headers(record, STORE, seq, CONFIG_HASH), **changes}
    producer = Producer({"bootstrap.servers": address})
    producer.produce(topic, record.body, record.key, timestamp=TIME_MS, headers=marks)
    assert not producer.flush(30)


def dlq(*arguments: str) -> Any:
    """What the command prints as JSON."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_a_letter_is_listed_with_its_reason_and_put_back_once(tmp_path):
    """Origin, reason, key and headers are there; it goes back with its own time, once."""
    with broker() as address:
        send(address, "telemetry_raw", 7, schema="telemetry/9")
        with ingesting(tmp_path / "lake", address) as ingest:
            until(lambda: ingest.dead_letters == 1)
            until(lambda: len(read_letters(address, {})) == 1)
            [told] = dlq("list", "--kafka", address, "--topic", "telemetry_raw")
            assert told["origin"].startswith("telemetry_raw/")
            assert told["reason"].startswith("unknown schema 'telemetry/9'")
            assert (told["key"], told["store_id"], told["seq"]) == ("TX01/R1/coolant_pump", STORE, "7")
            assert (told["time_ms"], told["replayed"]) == (TIME_MS, False)
            assert 0 <= told["age_s"] < 60
            assert dlq("replay", "--kafka", address)["replayed"] == 1
            until(lambda: ingest.dead_letters == 2)  # it still cannot be read: a new letter
            until(lambda: len(read_letters(address, {})) == 2)
        first, second = read_letters(address, {})
        assert (first.origin, first.replayed, second.replayed) == (told["origin"], True, False)
        assert (second.schema, second.seq, second.time_ms) == ("telemetry/9", "7", TIME_MS)
        assert list(replay.replay(address, {}, [first])) == []


@pytest.mark.slow
def test_a_replay_that_dies_before_its_marks_changes_nothing_in_the_lake(tmp_path, monkeypatch):
    """What an older centre set aside comes in; replayed twice it is in the lake once."""
    flush = replay._flush

    def die(producer: Producer) -> None:
        flush(producer)
        monkeypatch.setattr(replay, "_flush", flush)
        raise Retryable("killed")

    monkeypatch.setattr(replay, "_flush", die)
    with broker() as address, ingesting(tmp_path / "lake", address) as ingest:
        send(address, "telemetry_raw.dlq", 1, origin="telemetry_raw/0/0", reason="unknown schema")
        send(address, "telemetry_raw.dlq", 1, origin="telemetry_raw/0/0", reason="read twice")
        letters = read_letters(address, {})
        assert [each.reason for each in letters] == ["unknown schema"]
        with pytest.raises(Retryable, match="killed"):
            list(replay.replay(address, {}, letters))
        assert [reason for _, reason in replay.replay(address, {}, read_letters(address, {}))] == [None]
        until(lambda: (ingest.accepted, ingest.repeats) == (1, 1))
        assert LakeReader(tmp_path / "lake").spans() == {STORE: [(1, 1)]}
        assert [each.replayed for each in read_letters(address, {})] == [True]


def test_a_message_too_large_for_a_dead_letter_leaves_its_body_at_its_origin():
    """The letter still says whose row it was and why; Kafka takes it."""
    marks = {"store_id": "s" * 500, "seq": "1", "junk": "x" * LETTER_BYTES_MAX}
    kept = letter(Received("telemetry_raw", b"k", marks, b"b" * 10, "telemetry_raw/0/1"), "r" * 5_000)
    found = dict(kept.headers)
    assert (kept.body, found[BODY_BYTES], len(found["store_id"])) == (b"", "10", 200)
    assert (len(found["reason"]), "junk" in found) == (1_000, False)
