"""The agent's package through its life on a clean Debian 12 that has booted; and the wheels, each alone.

Installed without a network, configured, started by its unit in its sandbox beside a simulated plant, upgraded
to a higher version, removed and purged. `bench/debian_machine.py` makes the machine.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.arguments import takes_none
from bench.debian_machine import CommandFailed, DebianMachine, base
from bench.installed_agent import InstalledAgent, Said
from bench.package_life import PackageSteps
from bench.package_unit import UnitSteps
from bench.wheels_alone import wheels_alone
from shared import __version__
from shared.errors import ConfigError
from tests.support.releases import make_release, write_release

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".bench/packages"
NEXT_SETTINGS = (
    "\n# This line is the next version's.\n"  # so that the upgrade meets settings that both sides changed
)


def main() -> int:
    """Print each step, then one line of JSON; 1 when a step failed."""
    try:
        root = base(ROOT / ".bench")
        package, version = _prepare()
    except (ConfigError, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 78
    megabytes = round(package.stat().st_size / 1e6)
    print(f"{package.name}: {megabytes} MB")
    found, failed = _live(root, version)
    if failed is None:
        failed = _alone(found)
    figures = {name: value for _, numbers in found for name, value in numbers.items()}
    held = {
        "deb_mb": megabytes,
        **figures,
        "steps": len(found),
        "failed": failed,
        "held": failed is None,
    }
    print(json.dumps({"benchmark": "packages", **held}))
    return int(failed is not None)


def _live(root: Path, version: str) -> tuple[list[Said], str | None]:
    found: list[Said] = []
    with DebianMachine(root, FOLDER, ROOT / ".bench/debian-12.log") as machine:
        for name, step in _steps(InstalledAgent(machine), version):
            try:
                found.append(step())
            except (AssertionError, CommandFailed, subprocess.TimeoutExpired) as error:
                print(f"FAILED {name}: {error}", flush=True)
                print(machine.run("journalctl", "--unit=edge-agent", "--lines=40", "--no-pager", status=None))
                return found, name
            print(f"ok     {name}: {found[-1][0]}", flush=True)
    return found, None


def _steps(agent: InstalledAgent, version: str) -> list[tuple[str, Callable[[], Said]]]:
    package, unit = PackageSteps(agent, __version__, version), UnitSteps(agent)
    return [
        ("installs without a network", package.install),
        ("unit is clean", unit.verify),
        ("a wrong configuration is said once", unit.refuse),
        ("starts and fills its outbox", package.start),
        ("works in its sandbox", unit.probe),
        ("reloads", unit.reload),
        ("watchdog", unit.hang),
        ("upgrades", package.upgrade),
        ("drains and stops", package.stop),
        ("removed, keeps what is the site's", package.remove),
        ("purged, leaves nothing", package.purge),
    ]


def _alone(found: list[Said]) -> str | None:
    try:
        found.append(wheels_alone(ROOT / "dist", ROOT / ".bench/wheels"))
    except CommandFailed as error:
        print(f"FAILED wheels install alone: {error}")
        return "wheels install alone"
    print(f"ok     wheels install alone: {found[-1][0]}")
    return None


def _prepare() -> tuple[Path, str]:
    """What the machine sees: the package as built, one of a higher version, a release, the probe."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "old").mkdir(parents=True)
    package = ROOT / f"dist/edge-agent_{__version__}_amd64.deb"
    if not package.exists():
        raise ConfigError(str(package), ["is not there; `make package` makes it"])
    shutil.copy(package, FOLDER / "old")
    version = _build_next(FOLDER / "next")
    write_release(FOLDER / "release", *make_release())
    shutil.copy(ROOT / "bench/sandbox_probe.py", FOLDER)
    return package, version


def _build_next(tree: Path) -> str:
    """The same sources with a higher version and other default settings, built in a copy."""
    print("Building a higher version: about a minute", flush=True)
    for folder in ("shared", "edge_agent", "control_plane", "packaging"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("requirements.txt", "LICENSE", "reactor_config.yaml"):
        shutil.copy(ROOT / file, tree)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    *head, last = __version__.split(".")
    version = ".".join([*head, str(int(last) + 1)])
    source, settings = tree / "shared/src/shared/__init__.py", tree / "packaging/deb/agent.env"
    source.write_text(source.read_text().replace(f'"{__version__}"', f'"{version}"'))
    settings.write_text(settings.read_text() + NEXT_SETTINGS)
    environment: dict[str, Any] = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(
        [tree / "packaging/build.sh"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(f"packaging/build.sh: {(done.stdout + done.stderr)[-2000:]}")
    (tree / "dist").rename(FOLDER / "new")
    shutil.rmtree(tree)
    return version


if __name__ == "__main__":
    takes_none(__doc__)
    sys.exit(main())
