"""Asked what it is, a benchmark says so and does not run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = {"fleet_agents", "sandbox_probe"}  # started by a benchmark, never by a person
PROGRAMS = {
    path.stem: text
    for path in sorted((ROOT / "bench").glob("*.py"))
    if '__name__ == "__main__"' in (text := path.read_text()) and path.stem not in HELPERS
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_benchmark_reads_its_arguments(name):
    assert "    takes_none(__doc__)\n" in PROGRAMS[name] or "ArgumentParser(" in PROGRAMS[name]


def test_help_is_the_modules_docstring_and_any_argument_is_refused():
    told = _ran("--help")
    assert told.returncode == 0
    assert "usage: python -m bench.outbox" in told.stdout
    assert "against a bare SQLite table" in told.stdout
    refused = _ran("100")
    assert refused.returncode == 2
    assert "unrecognized arguments: 100" in refused.stderr


def _ran(*arguments):
    command = [sys.executable, "-m", "bench.outbox", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
