"""The same journal on a real PostgreSQL server."""

import threading

import pytest

from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import Event, Kind
from shared.errors import Rejected, Retryable
from shared.schemas import utc_now
from tests.support.postgres import postgres, server_bin

pytestmark = pytest.mark.skipif(server_bin() is None, reason="PostgreSQL is not installed")
WRITERS = 4
LINES = 10


@pytest.fixture
def open_store(url):
    stores: list[FleetStore] = []

    def open_one() -> FleetStore:
        stores.append(FleetStore(url))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def url():
    with postgres() as found:
        yield found


def test_writers_beside_each_other_get_numbers_in_the_order_of_their_commits(open_store):
    """A follower that goes on from the last number it saw never misses a line that commits later."""
    stores = [open_store() for _ in range(WRITERS)]

    def write(store: FleetStore, site: str) -> None:
        for number in range(LINES):
            store.append([Event("r1", number, site, Kind.COMMANDED, "", utc_now())])

    threads = [threading.Thread(target=write, args=(s, f"S{n}")) for n, s in enumerate(stores)]
    follower, seen = open_store(), []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or len(seen) < WRITERS * LINES:
        seen += follower.events(seen[-1].number if seen else 0)
    for thread in threads:
        thread.join()
    assert [line.number for line in seen] == [line.number for line in follower.events()]
    for site in range(WRITERS):
        assert [x.event.generation for x in seen if x.event.site == f"S{site}"] == list(range(LINES))


def test_answers_health_and_compare_and_set_are_the_same(open_store):
    """What SQLite promises, PostgreSQL promises."""
    store, now = open_store(), utc_now()
    begin = store.last()
    answer = Event("r2", 1, "TX01", Kind.COMMITTED, "pump/1", now)
    health = Event("r2", 1, "TX01", Kind.HEALTH, "{}", now)
    store.append([answer, health, answer, health])
    assert [line.event for line in store.events(begin)] == [answer, health]
    with pytest.raises(Retryable):
        store.append([answer], after=begin)
    store.seen("TX01", "key", "0.1.0", "s", [])
    store.running({"TX01": [{"name": "pump"}]})
    assert open_store().sites()[0]["models"] == [{"name": "pump"}]
    with pytest.raises(Rejected, match="another audit key"):
        store.seen("TX01", "other", "0.1.0", "s", [])
