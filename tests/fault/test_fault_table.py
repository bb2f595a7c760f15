"""The fault table's short set: every fault at once, and nothing is lost; and the reckoning can tell.

FAULT_SEED replays a run. `make faults` has a scene for each fault, `make faults-long` many seeds.
"""

import json
import os
import secrets
from collections.abc import Iterator

import pytest
from deltalake import DeltaTable, write_deltalake

from bench.fault_account import Reckoning
from bench.faults import BOTH_KILLED, SITE_FAULTS, Played, play
from tests.support.kafka import running_kafka

SEED = os.environ.get("FAULT_SEED", str(secrets.randbelow(2**32)))
GONE_ROWS = 30  # readings: some four seconds of two components
ROWS_MIN = 100  # of a site that polls two components four times a second for some 20 s

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Iterator[Played]:
    folder, rows = tmp_path_factory.mktemp("scene"), [*SITE_FAULTS, BOTH_KILLED]
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:  # it will be killed
        yield play(broker, folder, SEED, rows, [BOTH_KILLED, "broker killed and back"])


def test_nothing_is_lost_under_any_fault(played):
    """Agents, consumer and broker killed, PLC, disk, file and clock at fault: each row arrives once, in
    order, with the plant's own numbers, or a record says why not."""
    assert played.settled, SEED
    found = {site.row: played.reckoning(site) for site in played.sites}
    assert {row: each for row, each in found.items() if not each.clean} == {}, SEED
    assert min(each.rows for each in found.values()) >= ROWS_MIN
    assert found["outbox disk full"].explained > 0, "the disk was never full"


@pytest.fixture
def site(played):
    """One that nothing befell but a clock."""
    return next(site for site in played.sites if site.row == "clock set")


def test_a_number_that_the_plant_never_showed_is_counted(played, site):
    """The ledger changed by a hair: each number is misattributed."""
    assert played.reckoning(site).misattributed == 0
    text = site.ledger.read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    for entry in entries:
        entry["values"] = {tag: value and value * (1 + 1e-6) for tag, value in entry["values"].items()}
    site.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    changed = played.reckoning(site)
    site.ledger.write_text(text)
    assert changed.misattributed > ROWS_MIN


def test_rows_that_are_gone_or_twice_are_counted(played, site):
    """Rows taken out of the lake are lost and leave a gap; rows written again are duplicates."""
    assert played.reckoning(site).clean
    table = DeltaTable(played.lake / "telemetry")
    own = table.to_pyarrow_table(filters=[("site_id", "=", site.site_id)]).sort_by("seq")
    middle = own.slice(len(own) // 2, GONE_ROWS)
    write_deltalake(table, middle, mode="append")
    twice = played.reckoning(site)
    table.update_incremental()
    first, last = middle["seq"][0].as_py(), middle["seq"][-1].as_py()
    table.delete(f"site_id = '{site.site_id}' AND seq BETWEEN {first} AND {last}")
    gone = played.reckoning(site)
    assert twice.duplicates >= GONE_ROWS
    assert gone.lost == GONE_ROWS
    assert gone.unexplained_gaps > 0


def test_sums_of_rows_add_up():
    """Each count is summed by itself, and any but rows and explained ones spoil the row."""
    total = Reckoning(5, 1) + Reckoning(5, 1, 0, 0, 0, 0, 1)
    assert total == Reckoning(10, 2, 0, 0, 0, 0, 1)
    assert not total.clean
    assert Reckoning(10, 2).clean
