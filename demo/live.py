"""What a person sees while the fleet runs: a table that follows the centre's own API."""

import json
import sys
import time
import urllib.request
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from demo.processes import Processes
from demo.settings import Demo

LOOK_PERIOD_S = 1.0
PLAIN_PERIOD_S = 5.0  # where there is no terminal
API_TIMEOUT_S = 3.0
NEWS_SHOWN = 5
COLOURS = {
    "normal": "green",
    "degraded": "yellow",
    "warning": "dark_orange",
    "alarm": "red",
    "no_data": "dim",
}


class LiveView:
    """Shows the fleet and looks after the processes."""

    def __init__(self, demo: Demo, processes: Processes, console: Console, token: str) -> None:
        self._demo, self._processes, self._console = demo, processes, console
        headers = {"authorization": f"Bearer {token}"}
        self._request = urllib.request.Request(demo.url("/api/fleet"), headers=headers)  # noqa: S310 - loopback
        self._news: list[str] = []

    def watch(self, seconds: float | None) -> None:
        """Until `seconds` have passed; without them, until told."""
        began = time.monotonic()
        self._console.print(f"live: {f'for {seconds:.0f} s' if seconds else 'until Ctrl-C'}")
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=2) as live:
                while seconds is None or time.monotonic() - began < seconds:
                    self._look_after()
                    live.update(Group(self._table(self._fleet()), *self._news[-NEWS_SHOWN:]))
                    time.sleep(LOOK_PERIOD_S)
            return
        said = 0.0
        while seconds is None or time.monotonic() - began < seconds:
            for line in self._look_after():
                self._console.print(line)
            if time.monotonic() - said >= PLAIN_PERIOD_S:
                said = time.monotonic()
                words = _in_words(self._fleet())
                self._console.print(f"live: {said - began:3.0f} s  {words}", soft_wrap=True)
                sys.stdout.flush()
            time.sleep(LOOK_PERIOD_S)

    def _look_after(self) -> list[str]:
        news = self._processes.revive()
        self._news += [f"[yellow]{line}[/]" for line in news]
        return news

    def _fleet(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(self._request, timeout=API_TIMEOUT_S) as answer:  # noqa: S310 - loopback
                fleet: dict[str, Any] = json.load(answer)
                return fleet
        except (OSError, ValueError):
            return None  # the centre is being started again

    def _table(self, fleet: dict[str, Any] | None) -> Table:
        table = Table("component", "state", "cycle", "RUL (cycles)", "anomaly", "age", "model", "why")
        table.title = f"console: {self._demo.url('/')}"
        if fleet is None:
            table.caption = "the centre does not answer; agents go on"
        for c in _components(fleet):
            answer = c["prediction"]
            colour = COLOURS.get(c["level"], "white")
            table.add_row(
                f"{c['site_id']}/{c['reactor_id']}/{c['component']}",
                f"[{colour}]{c['level']}[/]",
                "-" if c["cycle"] is None else str(c["cycle"]),
                _rul(answer),
                f"{answer['anomaly_score']:.2f}" if answer else "-",
                "-" if c["age_s"] is None else f"{c['age_s']:.1f} s",
                f"{answer['model']['name']}/{answer['model']['version']}" if answer else "-",
                c["reasons"][0] if c["reasons"] else "",
            )
        return table


def _components(fleet: dict[str, Any] | None) -> list[dict[str, Any]]:
    sites = fleet["sites"] if fleet else []
    return [c for s in sites for r in s["reactors"] for c in r["components"]]


def _rul(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "-"
    if answer["rul"] is None:
        return str(answer["rul_state"]).replace("_", " ")
    return f"{answer['rul']:.0f} ({answer['rul_low']:.0f} to {answer['rul_high']:.0f})"


def _in_words(fleet: dict[str, Any] | None) -> str:
    if fleet is None:
        return "the centre does not answer; agents go on"
    words = [f"{n} {level.replace('_', ' ')}" for level, n in fleet["counts"].items() if n]
    alerts = fleet["standing_alerts"]
    newest = ""
    if alerts:
        a = alerts[0]
        newest = f"; newest: {a['site_id']}/{a['reactor_id']}/{a['component']}: {a['message']}"
    words.append(f"{len(alerts)} alert{'s' * (len(alerts) != 1)}")
    return f"{len(_components(fleet))} components: {', '.join(words)}{newest}"
