"""Every command of the README, the cheatsheet and the developer's page, run as it is written there.

In their order, in the folder in which the demo ran.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.services import module_command, wait_for_port

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/usage_cheatsheet.md", "docs/dev_setup.md")
COMMAND = re.compile(r"(?:\.venv/bin/|make |mbpoll |sudo )\S")
DEADLINE_S = 300  # of one command; alone a few seconds
READY_S = 120

ELSEWHERE = {  # commands that the suite cannot run within itself, and what runs them instead
    "make demo": "tests/e2e/test_demo.py",
    "make demo DEMO_SECONDS=60": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "make check": ".ci/run",
    "make kafka": "tests/support/kafka.py, once a run",
    "make proto": "tests/unit/test_generated.py",
    "make package": "make package-test, minutes and a Debian that boots",
    "make package-test": "by hand, and noted with what it printed",
}
INSTALLS = "sudo apt-get install"  # `.ci/run` installs the same packages
SERVES = "edge-agent plant"  # goes on until it is told to end, while the commands after it read it
BROKER_PORT = 9092
BROKER = ".venv/bin/control-plane broker"  # in place of `make kafka`, which starts it on the same port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(DEADLINE_S + 200)]


def commands() -> list[str]:
    """In shell blocks a command a line, in tables what stands in code type; each once."""
    found: dict[str, None] = {}
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        for block, row in re.findall(r"```sh\n(.*?)```|^(\|.*\|)$", text, re.DOTALL | re.MULTILINE):
            lines = [line.partition("  #")[0].strip() for line in block.splitlines()] or re.findall(
                r"`([^`]+)`", row
            )
            found |= dict.fromkeys(line for line in lines if COMMAND.match(line))
    return list(found)


@pytest.fixture(scope="module")
def folder(demo_checkout: Path) -> Path:
    """With the data of a demo: of the tests before, or of one that is run now."""
    if not (demo_checkout / ".demo" / "summary.json").exists():
        command = [*module_command("demo"), "--seconds", "60", "--recordings", "none"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        subprocess.run(command, cwd=demo_checkout, env=os.environ | {"PYTHONPATH": path}, check=True)
    return demo_checkout


@pytest.fixture(scope="module")
def serve(folder: Path) -> Iterator[Callable[[str], None]]:
    """Starts what serves, and waits until it says so; SIGTERM ends each."""
    started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(command: str) -> None:
        log = folder / f"serving-{len(started)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, stdout=out, stderr=out)
        started.append((process, log))
        deadline = time.monotonic() + READY_S
        while not log.read_text():
            assert process.poll() is None, command
            assert time.monotonic() < deadline, f"{command}: said nothing"
            time.sleep(0.1)

    start(BROKER)
    wait_for_port(BROKER_PORT, started[0][0])  # 78: another program has it
    yield start
    for process, _ in started:
        process.terminate()
    ended = {process.wait(READY_S) for process, _ in started}
    assert ended <= {0, -signal.SIGTERM}, [log.read_text() for _, log in started]


def test_what_is_run_elsewhere_is_still_in_a_document():
    """The list of exceptions holds no stale one."""
    assert set(ELSEWHERE) <= set(commands())


@pytest.mark.parametrize(
    "command", [c for c in commands() if c not in ELSEWHERE and not c.startswith(INSTALLS)]
)
def test_a_command_of_the_documents_works_as_written(command, folder, serve):
    """It ends with exit status 0; what serves answers the commands after it."""
    if SERVES in command:
        serve(command)
        return
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
