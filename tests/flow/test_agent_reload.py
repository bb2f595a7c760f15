"""SIGHUP: the real process, a real plant, a broker; another configuration, a wrong one, the same."""

import signal
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from shared.envelope import parse_headers
from shared.listen import free_port
from shared.reactor_config import load_fleet
from tests.support.agent_process import Manager, Site, until
from tests.support.services import running, wait_for_port

PERIOD_S = 0.2
ONE, BOTH = "{coolant_pump: {}}", "{coolant_pump: {}, heat_exchanger: {}}"
WRONG = "{coolant_pump: {noise: 1, fail_threshold: 2}}"


def metric(site: Site, name: str) -> float:
    return float(site.get("/metrics")[1].split(f"\n{name} ")[1].split()[0])


def reload(site: Site, outcome: str) -> None:
    """SIGHUP, and wait for what came of it."""
    name = f'edge_config_reloads_total{{outcome="{outcome}"}}'
    count = metric(site, name)
    site.process.send_signal(signal.SIGHUP)
    until(lambda: metric(site, name) == count + 1, f"a reload that is {outcome}")


def more_cycles(site: Site, component: str, count: int = 2) -> None:
    before = len(site.cycles(component))
    until(lambda: len(site.cycles(component)) >= before + count, f"readings of {component}")


def sent(address: str, count: int) -> list[tuple[int, str, str]]:
    """The first telemetry records in Kafka: row number, key, configuration hash."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["telemetry_raw"])
    found: list[tuple[int, str, str]] = []

    def look() -> bool:
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            envelope = parse_headers(message.headers())
            found.append((envelope.seq, message.key().decode(), envelope.config_hash))
        return len(found) >= count

    until(look, f"{count} records in Kafka")
    consumer.close()
    return sorted(found)


@pytest.mark.slow
def test_sighup_takes_a_good_configuration_and_refuses_a_wrong_one(tmp_path: Path):
    """Nothing is lost meanwhile; each record says which configuration it was made under."""
    site, port = Site(tmp_path, PERIOD_S), free_port()
    hashes = []
    site.write(BOTH)
    broker = running("control-plane", "broker", "--listen", f"127.0.0.1:{port}", port=port)
    with Manager(tmp_path) as manager, site.plant() as plant, broker:
        wait_for_port(site.plant_port, plant)
        site.environment["NOTIFY_SOCKET"] = str(manager.path)
        site.write(ONE)
        with site.agent(f"127.0.0.1:{port}"):
            hashes.append(load_fleet(site.config).hash())
            until(lambda: manager.count("READY=1"), "READY")
            more_cycles(site, "coolant_pump")

            reload(site, "unchanged")
            site.write(WRONG)
            reload(site, "refused")
            until(lambda: "noise: unknown field" in site.reasons(), "the reason in /healthz")
            site.config.write_text("TX02: {R1: {coolant_pump: {}}}\n")
            reload(site, "refused")
            more_cycles(site, "coolant_pump")
            assert site.cycles("heat_exchanger") == []

            site.write(BOTH)
            hashes.append(load_fleet(site.config).hash())
            reload(site, "applied")
            more_cycles(site, "heat_exchanger")
            assert "refused" not in site.reasons()
            site.write(ONE)
            hashes.append(hashes[0])
            reload(site, "applied")
            before = site.cycles("heat_exchanger")
            more_cycles(site, "coolant_pump")
            late = metric(site, "edge_polls_missed_total") + metric(site, "edge_repeated_cycles_total")
            assert site.end() == 0
            assert site.cycles("heat_exchanger") == before

        rows = [row for row in site.rows("telemetry/1") if row["component"] == "coolant_pump"]
        assert all(row["metrics"] for row in rows)
        steps = [later - earlier for earlier, later in pairwise(site.cycles("coolant_pump"))]
        assert sum(steps) - len(steps) <= late  # a busy machine may poll late; no reload ever did
        records = sent(f"127.0.0.1:{port}", len(site.rows("telemetry/1")))
    assert [found for found, _ in groupby(found for _, _, found in records)] == hashes
    assert {h for _, key, h in records if key.endswith("heat_exchanger")} == {hashes[1]}
    loaded = [event["detail"]["hash"] for event in site.events("config_loaded")]
    assert loaded == hashes
    assert [event["detail"]["hash"] for event in site.events("config_refused")] == [hashes[0]] * 2
    wrong, elsewhere = site.logged("configuration refused; the one before stays")
    assert len(wrong["problems"]) == 2
    assert "its sites are TX02" in elsewhere["problems"][0]
    said = manager.lines()
    assert said.count("RELOADING=1") == 5
    assert said.count("READY=1") == 6
    assert sum(line.startswith("MONOTONIC_USEC=") for line in said) == 5
    assert any(line.startswith("STATUS=degraded") and "was refused" in line for line in said)
