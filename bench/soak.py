"""A week in an hour: the agent over 60,480 polls, a week of a site that is polled each 10 s.

Polls come at 20 Hz instead, so that the week takes 50 minutes; every "day" the broker is away for an "hour"
(18 s). Samples are taken each "10 minutes"; the plot shows resident memory and the outbox' files. What the
outbox keeps on purpose is bounded smaller than by default, so that it is full within the second day and five
days are left to show that nothing grows: the last day's median is at most 1.05 times the third day's.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.edge_site import SITE, AgentProcess, agent, serving, write_config
from shared.listen import free_port
from tests.support.kafka import KafkaBroker, running_kafka

PERIOD_S = 0.05  # for the 10 s of a site
COMPRESSION = 200
DAY_S = 86_400 / COMPRESSION
HOUR_S = 3_600 / COMPRESSION
SAMPLE_S = 600 / COMPRESSION
DAYS = 7
UNITS, TAGS = 2, 50
GROWTH_MAX = 1.05
FULL_DAY = 2.0  # by then what is kept on purpose is full: 3 rows a poll of each unit, 120 a second
ACKED_BYTES_KEPT = 32 << 20  # for 128 MiB: half a day of this week
AUDIT_LEAVES_KEPT = 10_000  # for 100,000: less than a day of this week
# No option of the agent says what is kept after it has arrived; the soak alone wants less of it.
LIMITS_SEAM = f"""
from functools import partial
from edge_agent.commands import run
less = {{"acked_bytes_kept": {ACKED_BYTES_KEPT}, "audit_leaves_kept": {AUDIT_LEAVES_KEPT}}}
run.OutboxLimits = partial(run.OutboxLimits, **less)
"""


class Sample(NamedTuple):
    """What is there at a moment; days since the start."""

    day: float
    rss_mib: float
    files_mib: float
    pending_rows: float


def main() -> None:
    """Draw the plot; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=DAYS)
    parser.add_argument("--plot", type=Path, default=Path("docs/pictures/soak.png"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as data:
        folder, port = Path(name), free_port()
        write_config(folder / "fleet.json", UNITS, port, PERIOD_S, TAGS)
        with (
            running_kafka(Path(data)) as broker,
            serving(folder / "fleet.json", PERIOD_S, PERIOD_S / 2),
            agent(folder, folder / "fleet.json", broker.bootstrap, _seam(folder / "seam")) as found,
        ):
            found.until("edge_predictions_total", 1)
            samples = _week(found, broker, folder / "data", chosen.days)
            missed, polls = found.metric("edge_polls_missed_total"), found.metric("edge_polls_total")
    _draw(samples, chosen.plot)
    figures = {
        "site": SITE,
        "days": chosen.days,
        "polls": round(polls),
        "polls_missed": round(missed),
        "rss_growth": _growth([(s.day, s.rss_mib) for s in samples]),
        "files_growth": _growth([(s.day, s.files_mib) for s in samples]),
        "rss_mib_max": round(max(s.rss_mib for s in samples)),
        "files_mib_max": round(max(s.files_mib for s in samples), 1),
    }
    held = max(figures["rss_growth"], figures["files_growth"]) <= GROWTH_MAX
    print(f"{chosen.plot}: memory and files over {chosen.days:g} days")
    print(json.dumps({"benchmark": "soak", **figures, "held": held}))


def _seam(folder: Path) -> dict[str, str]:
    """The environment of an agent that starts with the smaller bounds."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LIMITS_SEAM)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def _week(found: AgentProcess, broker: KafkaBroker, data: Path, days: float) -> list[Sample]:
    samples: list[Sample] = []
    began_s, away = time.monotonic(), False
    while (day := (time.monotonic() - began_s) / DAY_S) < days:
        wanted = 0.5 <= day % 1.0 < 0.5 + 1 / 24
        if wanted != away:
            (broker.pause if wanted else broker.resume)()
            away = wanted
        files_mib = sum(f.stat().st_size for f in data.glob("outbox.db*")) / 2**20
        samples.append(Sample(day, found.rss_mib(), files_mib, found.metric("edge_outbox_rows")))
        if len(samples) % 72 == 1:
            last = samples[-1]
            print(f"day {day:.1f}: {last.rss_mib:.0f} MiB, files {last.files_mib:.1f} MiB", flush=True)
        time.sleep(SAMPLE_S)
    return samples


def _growth(series: list[tuple[float, float]]) -> float:
    """The last day's median over the third day's."""
    last = max(day for day, _ in series)
    early = median([value for day, value in series if FULL_DAY <= day < FULL_DAY + 1.0] or [series[0][1]])
    return round(median([value for day, value in series if day >= last - 1.0]) / early, 3)


def _draw(samples: list[Sample], path: Path) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(3, 1, figsize=(8, 6), sharex=True, layout="constrained")
    days = [s.day for s in samples]
    for axis, values, label in (
        (axes[0], [s.rss_mib for s in samples], "resident memory, MiB"),
        (axes[1], [s.files_mib for s in samples], "outbox files, MiB"),
        (axes[2], [s.pending_rows for s in samples], "rows not acknowledged"),
    ):
        axis.plot(days, values, linewidth=1)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.1 * max(values))
        axis.grid(alpha=0.3)
    axes[2].set_xlabel(f"days, a poll each {PERIOD_S * COMPRESSION:.0f} s; the broker is away an hour a day")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
