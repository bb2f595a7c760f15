"""Loads a release in a process of its own first: a graph that blows up in memory or time does it there.

Enters: the bytes of a verified release. Leaves: nothing, or Untrusted with the check that failed. The
process stands in an empty folder, so that weights outside the signed file are not found; it may take so much
memory and time and no more, and is the first that the kernel ends when the machine has none left.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

from edge_agent.update.release import Release
from shared.errors import Retryable, Untrusted

MEMORY_BYTES_MAX = 512 * 1024 * 1024  # beyond what Python and onnxruntime take: eight times the largest model
CPU_S_MAX = 5  # to load and to recompute the golden windows: a sound release takes less than one
WAIT_S_MAX = 120.0  # on a busy machine
SAID_BYTES_MAX = 4096


def load_apart(release: Release) -> None:
    """Blocking. Untrusted when the release cannot be loaded and answer its golden windows within bounds;
    Retryable when this machine has no room for the attempt now."""
    with tempfile.TemporaryDirectory(prefix="edge-probe-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edge_agent.load_check", str(MEMORY_BYTES_MAX), str(CPU_S_MAX)],
                input=_packed(release),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                timeout=WAIT_S_MAX,
                check=False,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except (OSError, subprocess.TimeoutExpired) as error:  # no memory for a process, or no turn for it
            raise Retryable(f"{release.manifest.folder} cannot be tried now: {str(error)[:200]}") from error
    _check(release.manifest.folder, done.returncode, done.stdout[:SAID_BYTES_MAX])


def _packed(release: Release) -> bytes:
    return len(release.manifest_bytes).to_bytes(8) + release.manifest_bytes + release.model


def _check(folder: str, status: int, said: bytes) -> None:
    with suppress(ValueError):
        answer = json.loads(said)
        if answer == {}:
            return
        raise Untrusted(str(answer["check"]), str(answer["reason"]))
    how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    bounds = f"{MEMORY_BYTES_MAX >> 20} MiB and {CPU_S_MAX} s of CPU are the most"
    raise Untrusted("model load", f"{folder}: the process that tried it {how}; {bounds}")
