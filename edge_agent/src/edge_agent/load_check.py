"""The process in which `update/probe.py` lets a release be loaded: bounds itself, loads, says how it went.

A module of its own so that it imports no more than scoring needs.
"""

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from edge_agent.scoring import Scorer
from shared.errors import Rejected, Untrusted
from shared.schemas import Manifest


def main(memory_bytes: int, cpu_s: int) -> None:
    """Read a release from standard input; write `{}`, or which check it fails."""
    data = sys.stdin.buffer.read()
    size = int.from_bytes(data[:8])
    manifest, model = Manifest.model_validate_json(data[8 : 8 + size]), data[8 + size :]
    _bound_myself(memory_bytes, cpu_s)
    said: dict[str, str] = {}
    try:
        Scorer.load(manifest, model)
    except Untrusted as error:
        said = {"check": error.check, "reason": str(error).removeprefix(f"{error.check}: ")[:500]}
    except (Rejected, MemoryError) as error:
        said = {"check": "model load", "reason": (str(error) or "out of memory")[:500]}
    os.write(sys.stdout.fileno(), json.dumps(said).encode())
    os._exit(0)  # nothing of what the graph left behind is torn down


def _bound_myself(memory_bytes: int, cpu_s: int) -> None:
    """Both count from here: what is mapped already is mostly libraries."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        resource.RLIMIT_AS: mapped + memory_bytes,
        resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + 1 + cpu_s,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
