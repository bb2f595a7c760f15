"""A small fleet's lake: two sites, three reactors, a pump and a heat exchanger in each of the reactors.

Run as a program (`console_lake.py DIR SECONDS`) it writes a fleet that goes on living, to look at.
"""

import math
import random
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import yaml

from control_plane.alerts.store import AlertStore
from control_plane.sinks.alerts import AlertSink
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeWriter
from shared.envelope import Envelope
from shared.reactor_config import FleetConfig, parse_fleet
from shared.schemas import (
    Alert,
    ComponentId,
    Contribution,
    GapRecord,
    ModelRef,
    PredictionRecord,
    Record,
    RulState,
    SiteStatus,
    Telemetry,
    utc_now,
)

CONFIG = """\
TX01:
  plant: {poll_period_s: 0.5, timeout_s: 0.4}
  R1:
    coolant_pump:
      thresholds: {limits: {bearing_temperature: {high: 90}}}
    heat_exchanger: {}
  R2:
    coolant_pump: {}
    heat_exchanger: {}
ID01:
  plant: {poll_period_s: 0.5, timeout_s: 0.4}
  R1:
    reactor_type: natural_circulation
    coolant_pump: {}
    heat_exchanger: {}
"""
NOMINAL = {
    "shaft_speed": 1485.0,
    "flow_rate": 412.0,
    "pressure_drop": 388.0,
    "temperature_in": 288.4,
    "temperature_out": 318.9,
    "bearing_temperature": 71.2,
    "motor_current": 212.0,
    "vibration_rms": 2.31,
    "secondary_flow_rate": 236.0,
    "secondary_temperature_in": 224.1,
    "secondary_temperature_out": 276.8,
}
MODEL_SHA256 = {"coolant_pump": "7c1f93d2" + "a" * 56, "heat_exchanger": "03be55e8" + "b" * 56}

PUMP = ComponentId("TX01", "R1", "coolant_pump")
EXCHANGER = ComponentId("TX01", "R1", "heat_exchanger")


@cache
def fleet() -> FleetConfig:
    """The configuration that the lake's rows belong to."""
    return parse_fleet(yaml.safe_load(CONFIG), "console_lake")


class ConsoleLake:
    """Writes records as ingest would: validated, with an origin, in one commit per call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer = LakeWriter(folder)
        self._alerts = AlertSink(AlertStore(folder.parent / "alerts.db"))
        self._seq = 0

    def create(self) -> "ConsoleLake":
        """Make the empty tables."""
        self._writer.create()
        return self

    def write(self, *records: Record) -> None:
        """One commit of these records."""
        batch = [self._arrival(record) for record in records]
        self._alerts.accept(batch)
        self._writer.accept(batch)

    def _arrival(self, record: Record) -> Arrival:
        self._seq += 1
        site = record.key.split("/", 1)[0]
        envelope = Envelope(record.SCHEMA, site, f"store-{site}", self._seq, "c0ffee")
        return Arrival(record, record.outgoing().body, envelope)


def telemetry(
    key: ComponentId,
    when: datetime,
    cycle: int = 100,
    metrics: dict[str, float] | None = None,
    quality: dict[str, str] | None = None,
) -> Telemetry:
    """One poll; its numbers are nominal where none are given."""
    quality = quality or {}
    if metrics is None:
        tags = fleet().components()[key].tags
        metrics = {name: NOMINAL[name] for name in tags if name not in quality}
    return Telemetry(timestamp=when, **key._asdict(), cycle=cycle, metrics=metrics, quality=quality)


def contributions(key: ComponentId) -> list[Contribution]:
    """The first two tags, one above and one below what is normal."""
    tags = list(fleet().components()[key].tags.items())[:2]
    away = zip(tags, (1.02, 0.97), (-23.0, -9.0), strict=True)
    return [
        Contribution(
            tag=name,
            of="rul",
            effect=effect,
            value=NOMINAL[name] * share,
            normal=NOMINAL[name],
            unit=tag.unit,
        )
        for (name, tag), share, effect in away
    ]


def prediction(
    key: ComponentId,
    when: datetime,
    cycle: int = 100,
    rul: float | None = 118.0,
    state: RulState = RulState.OK,
    score: float = 0.8,
    mode: str = "active",
    version: int = 3,
) -> PredictionRecord:
    """One answer of a model; the interval is a fifth to each side."""
    known = state is RulState.OK
    return PredictionRecord(
        timestamp=when,
        **key._asdict(),
        prediction_id=f"{key.key}:{cycle}:{mode}",
        cycle=cycle,
        model=ModelRef(
            name=f"{key.component}_rul", version=version, sha256=MODEL_SHA256[key.component], mode=mode
        ),
        feature_spec_hash="f" * 64,
        window_sha256="e" * 64,
        rul_state=state,
        rul=rul if known else None,
        rul_low=rul * 0.8 if known else None,
        rul_high=rul * 1.2 if known else None,
        anomaly_score=score,
        anomaly_threshold=3.0,
        is_anomaly=score > 3.0,
        ood_score=0.1,
        ood_threshold=1.0,
        is_ood=False,
        withheld_because="out_of_distribution" if state is RulState.WITHHELD else None,
        raw={"rul": [1.0]},
        contributions=contributions(key) if known else [],
        inference_time_ms=0.4,
        runtime="onnxruntime",
        window=b"AAAA",
    )


def alert(
    key: ComponentId,
    when: datetime,
    alert_id: str = "a1",
    state: str = "raised",
    severity: str = "alarm",
    kind: str = "anomaly",
    subject: str = "anomaly",
    message: str = "Anomaly score 7.4 is above its threshold 3.0",
    **more: str | datetime,
) -> Alert:
    """One transition of an alert."""
    return Alert(
        timestamp=when,
        **key._asdict(),
        alert_id=alert_id,
        kind=kind,
        severity=severity,
        state=state,
        cycle=100,
        subject=subject,
        value=7.4,
        threshold=3.0,
        message=message,
        **more,
    )


def status(site_id: str, when: datetime, outbox_rows: int = 0) -> SiteStatus:
    """A site's heartbeat."""
    return SiteStatus(
        timestamp=when,
        site_id=site_id,
        agent_version="0.1.0",
        store_id=f"store-{site_id}",
        last_seq=1,
        outbox_rows=outbox_rows,
        polls=1204,
        polls_failed=2,
        models={},
    )


def gap(site_id: str, when: datetime, count: int = 12) -> GapRecord:
    """Rows that a site had to give up."""
    return GapRecord(
        timestamp=when,
        site_id=site_id,
        store_id=f"store-{site_id}",
        from_seq=1,
        to_seq=count,
        count=count,
        reason="outbox_full",
    )


class LivingFleet:
    """A fleet whose components wear: readings with noise, falling RUL, one sensor that drops out.

    TX01/R1 pump: its anomaly score climbs. TX01/R2 pump: RUL under its warning. TX01/R2 exchanger: a
    sensor times out. ID01: healthy; its pump is beyond the horizon.
    """

    def __init__(self, lake: ConsoleLake, seed: int = 7) -> None:
        self._lake = lake
        self._random = random.Random(seed)
        self._keys = list(fleet().components())

    def history(self, minutes: float, period_s: float = 1.0) -> None:
        """The past minutes, in one commit."""
        now = utc_now()
        steps = int(minutes * 60 / period_s)
        records: list[Record] = []
        for step in range(steps):
            records += self.records(now - timedelta(seconds=(steps - step) * period_s), step)
        self._lake.write(*records)
        self._steps = steps

    def tick(self, silent: Iterable[ComponentId] = ()) -> None:
        """What the sites say now, but for the `silent` components."""
        self._steps += 1
        quiet = {key.key for key in silent}
        self._lake.write(*(r for r in self.records(utc_now(), self._steps) if r.key not in quiet))

    def records(self, when: datetime, cycle: int) -> list[Record]:
        """Every component's telemetry and prediction of one cycle, and the sites' heartbeats."""
        records: list[Record] = [status(site, when) for site in ("TX01", "ID01")]
        for key in self._keys:
            records += self._component(key, when, cycle)
        return records

    def _component(self, key: ComponentId, when: datetime, cycle: int) -> list[Record]:
        bad = {"secondary_flow_rate": "timeout"} if key[1:] == ("R2", "heat_exchanger") else {}
        metrics = {}
        for name in fleet().components()[key].tags:
            swing = 0.004 * math.sin(cycle / 40 + len(name)) + self._random.gauss(0, 0.002)
            wear = 1 + (cycle / 4000 if name == "vibration_rms" and key == PUMP else 0)
            if name not in bad:
                metrics[name] = NOMINAL[name] * (1 + swing) * wear
        return [telemetry(key, when, cycle, metrics, bad), self._prediction(key, when, cycle)]

    def _prediction(self, key: ComponentId, when: datetime, cycle: int) -> PredictionRecord:
        noise = self._random.gauss(0, 1)
        if key == ("ID01", "R1", "coolant_pump"):
            return prediction(key, when, cycle, None, RulState.BEYOND_HORIZON, 0.6 + 0.05 * noise)
        if key == ("ID01", "R1", "heat_exchanger"):
            return prediction(key, when, cycle, 96 - cycle / 60 + noise, score=0.7 + 0.1 * noise)
        if key == ("TX01", "R2", "coolant_pump"):
            return prediction(key, when, cycle, 30 - cycle / 120 + 0.5 * noise, score=1.4 + 0.1 * noise)
        climb = max(0.0, cycle / 900 - 0.55) * 9 if key == PUMP else 0
        rul = 74 - cycle / 40 if key == PUMP else 118 - cycle / 90
        return prediction(key, when, cycle, rul + noise, score=0.9 + climb + 0.12 * abs(noise))


SEASON_DAYS, SEASON_STEP_H = 90, 2
OUTAGE_DAYS = (40, 44)  # of the season, from its start: the site was cut off


def season(now: datetime) -> list[Record]:
    """The pump of TX01/R1 over months: a slow wear, a spike of one row on day 60, days without any."""
    records: list[Record] = []
    for step in range(SEASON_DAYS * 24 // SEASON_STEP_H):
        day = step * SEASON_STEP_H / 24
        if OUTAGE_DAYS[0] <= day < OUTAGE_DAYS[1]:
            continue
        when = now - timedelta(days=SEASON_DAYS) + timedelta(days=day)
        metrics = {
            name: value * (1 + 0.01 * math.sin(step / 4 + len(name)) + day / 900)
            for name, value in NOMINAL.items()
            if name in fleet().components()[PUMP].tags
        }
        if day == 60:
            metrics["vibration_rms"] = 11.9
        records.append(telemetry(PUMP, when, step, metrics))
        noise = 4 * math.sin(step / 9)
        records.append(prediction(PUMP, when, step, 190 - day + noise, score=0.8 + day / 60))
    return records


def main() -> None:
    """Write a living fleet into a folder for some seconds."""
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reactor_config.yaml").write_text(CONFIG)
    lake = ConsoleLake(folder / "lake").create()
    living = LivingFleet(lake)
    living.history(15)
    lake.write(alert(PUMP, utc_now()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        living.tick()
        time.sleep(1)


if __name__ == "__main__":
    main()
