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


def sound(played: Played):
    """A site, its reckoning, and its telemetry in the lake."""
    site = next(site for site in played.sites if site.row == "clock set")
    return site, played.reckoning(site), DeltaTable(played.lake / "telemetry")


def test_a_number_that_the_plant_never_showed_is_counted(played):
    """The ledger changed by a hair: each such number is misattributed."""
    site, before, _ = sound(played)
    text = site.ledger.read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    for entry in entries[:40]:
        entry["values"] = {tag: value and value * (1 + 1e-6) for tag, value in entry["values"].items()}
    site.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    after = played.reckoning(site)
    site.ledger.write_text(text)
    assert (before.misattributed, after.misattributed > 0) == (0, True)


def test_rows_that_are_gone_or_twice_are_counted(played):
    """Rows taken out of the lake are lost and leave a gap; rows written again are duplicates."""
    site, before, table = sound(played)
    chosen = f"site_id = '{site.site_id}' AND cycle BETWEEN 20 AND 30"
    rows = table.to_pyarrow_table(
        filters=[("site_id", "=", site.site_id), ("cycle", ">=", 20), ("cycle", "<=", 30)]
    )
    write_deltalake(table, rows, mode="append")
    twice = played.reckoning(site)
    table.update_incremental()
    table.delete(chosen)
    gone = played.reckoning(site)
    assert before.clean
    assert twice.duplicates >= rows.num_rows
    assert gone.lost == rows.num_rows
    assert gone.unexplained_gaps > 0


def test_sums_of_rows_add_up():
    """Each count is summed by itself, and any but rows and explained ones spoil the row."""
    total = Reckoning(5, 1) + Reckoning(5, 1, 0, 0, 0, 0, 1)
    assert total == Reckoning(10, 2, 0, 0, 0, 0, 1)
    assert not total.clean
    assert Reckoning(10, 2).clean
