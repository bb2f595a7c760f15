"""`python -m demo`: see `make demo`."""

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from demo.live import LiveView
from demo.processes import Processes
from demo.report import report, summarise
from demo.settings import Demo, choose_ports, find_recordings
from demo.story import Story, passphrase_environment
from shared.command_line import PIPE_COLUMNS
from shared.errors import PmStackError

ROOT = Path(".demo")
CONFIG = Path("reactor_config.yaml")
MARK = "made by make demo; removed and made again at each run\n"


class Told(Exception):
    """SIGINT or SIGTERM: end in order."""


def main() -> int:
    """Run the story, watch it live, end it in order, count; 0 only when every claim held."""
    arguments = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _told)
    demo = Demo(_fresh(ROOT), arguments.seconds, find_recordings(arguments.recordings), choose_ports())
    processes = Processes(demo.root, passphrase_environment())
    story = Story(demo, processes, console, CONFIG)
    try:
        story.prepare()
    except (Told, RuntimeError, TimeoutError, PmStackError) as error:
        processes.stop_all()
        console.print("ended" if isinstance(error, Told) else f"[red]{escape(str(error))}[/]")
        return 130 if isinstance(error, Told) else 1
    try:
        LiveView(demo, processes, console, story.token).watch(arguments.seconds)
    except Told:
        console.print("\n[bold]ending[/] (once more to end at once)")
    return _finish(demo, story, processes, console)


def _finish(demo: Demo, story: Story, processes: Processes, console: Console) -> int:
    try:
        restarts = processes.restarts()
        story.end()
        summary, claims = summarise(demo, story.sites, restarts, processes.killed)
    except Told:
        return 130
    finally:
        processes.stop_all()
    (demo.root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    report(console, claims, demo.root / "summary.json")
    good = {True} if demo.seconds else {True, None}  # ended by hand, a claim may not be reached yet
    return 0 if {claim.held for claim in claims} <= good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--seconds", type=lambda text: float(text) if text else None, default=None)
    parser.add_argument("--recordings", type=Path, required=True)
    return parser.parse_args()


def _fresh(root: Path) -> Path:
    """An empty folder of ours; never one that something else made."""
    mark = root / "README"
    if root.exists() and not mark.exists():
        sys.exit(f"{root} exists and was not made by the demo; move it away")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    mark.write_text(MARK)
    return root


def _told(_number: int, _frame: FrameType | None) -> None:
    raise Told


if __name__ == "__main__":
    sys.exit(main())
