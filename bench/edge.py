"""What the whole agent takes: polled, judged, windowed, scored, committed, acknowledged by a local Kafka.

*Steady*: 100 units x 1,000 float32 at 1 Hz for 60 s through `edge-agent run`, each unit with a signed LSTM
over a window of 16 of its tags; a bare pymodbus loop that discards what it reads asks the same server before
and after. *Latency*: 10 units x 1,000 float32 at 1 Hz whose registers change at a phase that drifts through
the poll's; from a change until a consumer has the record, which is no sooner than the acknowledgement.
*Catch-up*: see `bench.catch_up`. The share of each stage comes from `bench.edge_stages`.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer
from pymodbus.client import AsyncModbusTcpClient

from bench.arguments import takes_none
from bench.catch_up import catch_up
from bench.edge_site import HOST, TAGS, AgentProcess, agent, serving, write_config
from bench.edge_stages import stages
from shared.listen import free_port
from shared.reactor_config import MODBUS_READ_REGISTERS_MAX
from tests.support.kafka import KafkaBroker, running_kafka

PERIOD_S = 1.0
STEADY_UNITS, STEADY_S = 100, 60.0
LATENCY_UNITS, LATENCY_S = 10, 60.0
LATENCY_TICK_S = 1.017  # each change comes 17 ms later in the poll's period than the one before
BARE_CYCLES = 8  # before the agent, and as many after
DISTINCT_TICKS = 4  # of numbers that come in turn
PHASE = 0.5  # of the period, between the wall clock's second, when the agent polls, and a change

POINTS_PER_S_MIN = 0.995 * STEADY_UNITS * TAGS / PERIOD_S  # from poll to poll, each seen 0.1 s late at most
BARE_RATIO_MAX = 1.7
RSS_MIB_MAX = 400.0
P99_MS_MAX = 1.3e3 * PERIOD_S
CATCH_UP_RATIO_MIN = 0.5
LAG_GROWTH_ROWS_MAX = 4.0 * STEADY_UNITS  # two polls' telemetry and predictions are always on their way

Figures = dict[str, float]


def main() -> None:
    """Print each part beside its limits; the last line is JSON."""
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as kafka,
        running_kafka(Path(kafka)) as broker,
    ):
        figures = _steady(Path(name) / "steady", broker)
        figures |= _latency(Path(name) / "latency", broker)
        figures |= catch_up(Path(name) / "backlog.db", broker.bootstrap)
    limits = {
        "points_per_s": figures["points_per_s"] >= POINTS_PER_S_MIN,
        "polls_missed": figures["polls_missed"] == 0,
        "lag_growth_rows": figures["lag_growth_rows"] <= LAG_GROWTH_ROWS_MAX,
        "bare_ratio": figures["bare_ratio"] <= BARE_RATIO_MAX,
        "rss_mib": figures["rss_mib"] <= RSS_MIB_MAX,
        "p99_ms": figures["p99_ms"] <= P99_MS_MAX,
        "catch_up_ratio": figures["catch_up_ratio"] >= CATCH_UP_RATIO_MIN,
    }
    for name in (name for name, kept in limits.items() if not kept):
        print(f"NOT HELD: {name} {figures[name]}")
    print(json.dumps({"benchmark": "edge", **figures, "held": all(limits.values())}))


@contextmanager
def _plant(folder: Path, units: int, tick_s: float) -> Iterator[tuple[Path, int, Any]]:
    """A served plant; gives its fleet file, its port and the times of its ticks."""
    folder.mkdir()
    config, port = folder / "fleet.json", free_port()
    write_config(config, units, port, PERIOD_S)
    with serving(config, tick_s, PHASE * PERIOD_S, DISTINCT_TICKS) as times:
        yield config, port, times


def _steady(folder: Path, broker: KafkaBroker) -> Figures:
    with _plant(folder, STEADY_UNITS, PERIOD_S) as (config, port, _):
        bare = [asyncio.run(_bare_cpu_s(port))]
        with agent(folder, config, broker.bootstrap) as found:
            found.until("edge_predictions_total", STEADY_UNITS)
            first, rss = _counters(found), []
            while time.monotonic() < first["at_s"] + STEADY_S:
                time.sleep(PERIOD_S)
                rss.append(found.rss_mib())
            last = _counters(found)
        bare.append(asyncio.run(_bare_cpu_s(port)))
        shares = asyncio.run(stages(config, PERIOD_S))
    grown = {name: last[name] - first[name] for name in first}
    bare_cpu_s = float(np.mean(bare)) * 1e6
    cpu_s = grown["cpu_s"] / grown["points"] * 1e6
    figures = {
        "points_per_s": round(grown["points"] / grown["at_s"]),
        "scores_per_s": round(grown["scores"] / grown["at_s"], 1),
        "polls_missed": round(grown["missed"]),
        "lag_growth_rows": round(grown["lag_rows"]),
        "cpu_s_per_million_points": round(cpu_s, 2),
        "bare_cpu_s_per_million_points": round(bare_cpu_s, 2),
        "bare_ratio": round(cpu_s / bare_cpu_s, 2),
        "rss_mib": round(max(rss)),
    }
    _tell_steady(figures, cpu_s, shares)
    return figures


def _counters(found: AgentProcess) -> Figures:
    """Right behind a poll, so that the time between two of them holds whole polls."""
    found.until("edge_polls_total", found.metric("edge_polls_total") + 1)
    return {
        "at_s": time.monotonic(),
        "cpu_s": found.cpu_s(),
        "points": found.metric("edge_values_total"),
        "scores": found.metric("edge_predictions_total"),
        "missed": found.metric("edge_polls_missed_total"),
        "lag_rows": found.metric("edge_outbox_rows"),
    }


def _tell_steady(figures: Figures, cpu_s: float, shares: dict[str, float]) -> None:
    print(
        f"steady    {figures['points_per_s']:,.0f} points/s and {figures['scores_per_s']} scores/s for "
        f"{STEADY_S:.0f} s, {figures['polls_missed']:.0f} polls missed, lag grew by "
        f"{figures['lag_growth_rows']:.0f} rows, RSS {figures['rss_mib']:.0f} MiB (limit {RSS_MIB_MAX:.0f})"
    )
    print(
        f"cpu       {cpu_s:.2f} s per million points, bare {figures['bare_cpu_s_per_million_points']:.2f}; "
        f"ratio {figures['bare_ratio']} (limit {BARE_RATIO_MAX})"
    )
    rest = {"forwarding, metrics and the rest": cpu_s - sum(shares.values())}
    for stage, share in (shares | rest).items():
        print(f"          {share:6.2f} s  {100 * share / cpu_s:5.1f} %  {stage}")


async def _bare_cpu_s(port: int) -> float:
    """CPU seconds a point of a loop that asks for all registers and looks at none."""
    async with AsyncModbusTcpClient(HOST, port=port) as client:
        cpu_s, points = 0.0, 0
        for _ in range(BARE_CYCLES):
            began_s, due_s = time.process_time(), time.monotonic() + PERIOD_S
            for unit in range(1, STEADY_UNITS + 1):
                for address in range(0, 2 * TAGS, MODBUS_READ_REGISTERS_MAX):
                    count = min(MODBUS_READ_REGISTERS_MAX, 2 * TAGS - address)
                    reply = await client.read_holding_registers(address, count=count, device_id=unit)
                    points += len(reply.registers) // 2
            cpu_s += time.process_time() - began_s
            await asyncio.sleep(due_s - time.monotonic())
    return cpu_s / points


def _latency(folder: Path, broker: KafkaBroker) -> Figures:
    """From a change in the registers until a consumer of the topic has the record."""
    with (
        _plant(folder, LATENCY_UNITS, LATENCY_TICK_S) as (config, _, times),
        agent(folder, config, broker.bootstrap) as found,
    ):
        found.until("edge_predictions_total", LATENCY_UNITS)
        took_ms = np.array(list(_arrivals(broker, times)))
    figures: Figures = {
        "p50_ms": round(float(np.percentile(took_ms, 50))),
        "p99_ms": round(float(np.percentile(took_ms, 99))),
        "latency_records": len(took_ms),
    }
    print(
        f"latency   p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms of {len(took_ms)} records "
        f"(limit {P99_MS_MAX:.0f} ms, poll period {1e3 * PERIOD_S:.0f} ms)"
    )
    return figures


def _arrivals(broker: KafkaBroker, times: Any) -> Iterator[float]:
    """Milliseconds from change to arrival of each telemetry record of the coming `LATENCY_S`."""
    began_s = time.time()
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": "latency", "auto.offset.reset": "latest"}
    consumer = Consumer(settings | {"fetch.wait.max.ms": 10})
    consumer.subscribe(["telemetry_raw"])
    try:
        while time.time() < began_s + LATENCY_S:
            message = consumer.poll(1.0)
            if message is None or message.error() or message.timestamp()[1] < 1e3 * began_s:
                continue
            arrived_s = time.time()
            changed_s = times[json.loads(message.value() or b"")["cycle"]]
            yield 1e3 * (arrived_s - changed_s)
    finally:
        consumer.close()


if __name__ == "__main__":
    takes_none(__doc__)
    main()
