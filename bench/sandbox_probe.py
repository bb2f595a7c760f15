"""Tries what the unit's sandbox denies, and does what the agent needs; prints both as JSON.

Run by the package's own Python, as the agent's user: once in the sandbox and once outside. What is refused
in the sandbox alone is what the sandbox does; what is refused outside as well, the user may not do anyway.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

DATA = Path("/var/lib/edge-agent")
FOLDER = Path("/packages/release")  # manifest.json and model.onnx
CLONE_NEWUSER, PERSONALITY_LINUX32 = 0x10000000, 8
SYS_PIDFD_GETFD = 438  # taking a file from a process: any user may, of its own
ADJTIMEX_BYTES = 256  # struct timex, with room

libc = ctypes.CDLL(None, use_errno=True)


def called(result: int) -> None:
    """OSError where a call into the C library failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def seen(path: str) -> None:
    """OSError where the path is not there, or nothing is in the folder."""
    if Path(path).is_dir() and not any(Path(path).iterdir()):
        raise OSError(f"{path} is empty")
    Path(path).stat()


def make_setuid() -> None:
    file = DATA / "probe-setuid"
    file.touch()
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


def ask_for_real_time() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(0))
    except OSError as error:
        if error.errno != errno.EINVAL:  # that priority 0 is none is said to those alone who may ask
            raise


def gain_privileges() -> None:
    if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        raise OSError("no new privileges")


def capabilities_bound() -> None:
    if "CapBnd:\t0000000000000000" in Path("/proc/self/status").read_text():
        raise OSError("none may be had")


def group_writes() -> None:
    file = DATA / "probe-umask"
    file.write_text("")
    mode = file.stat().st_mode & 0o777
    file.unlink()
    if mode & 0o027 == 0:
        raise OSError(f"{mode:o}")


DENIED: dict[str, Callable[[], object]] = {
    "NoNewPrivileges": gain_privileges,
    "CapabilityBoundingSet": capabilities_bound,
    "ProtectSystem": lambda: Path("/var/lib/probe-open/file").write_text(""),
    "ProtectHome": lambda: seen("/home"),
    "PrivateTmp": lambda: seen("/tmp/probe-marker"),
    "PrivateDevices": lambda: seen("/dev/probe-marker"),
    "ProtectKernelTunables": lambda: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "ProtectControlGroups": lambda: os.mkdir("/sys/fs/cgroup/systemd/probe"),
    "ProtectProc": lambda: seen("/proc/1/status"),
    "RestrictAddressFamilies: netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "RestrictAddressFamilies: vsock": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close(),
    "RestrictNamespaces": lambda: called(libc.unshare(CLONE_NEWUSER)),
    "RestrictRealtime": ask_for_real_time,
    "RestrictSUIDSGID": make_setuid,
    "LockPersonality": lambda: called(libc.personality(PERSONALITY_LINUX32)),
    "MemoryDenyWriteExecute": lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close(),
    "ProtectHostname": lambda: socket.sethostname("probe"),
    "SystemCallFilter": lambda: called(libc.syscall(SYS_PIDFD_GETFD, os.pidfd_open(os.getpid()), 0, 0)),
    "UMask": group_writes,
}


def score() -> None:
    """A release is loaded and its golden windows are recomputed, as at each start."""
    from edge_agent.scoring import Scorer
    from shared.schemas import Manifest

    manifest = Manifest.model_validate_json((FOLDER / "manifest.json").read_bytes())
    Scorer.load(manifest, (FOLDER / "model.onnx").read_bytes())


def load_in_a_process() -> None:
    """The same in the bounded process in which an update is tried first."""
    from edge_agent.update.probe import load_apart
    from edge_agent.update.release import Release
    from shared.schemas import Assignment, Manifest

    manifest = (FOLDER / "manifest.json").read_bytes()
    model = (FOLDER / "model.onnx").read_bytes()
    nobodys = cast("Assignment", None)  # who signed it is not asked here
    load_apart(Release(Manifest.model_validate_json(manifest), manifest, model, nobodys, b"", b""))


def write_data() -> None:
    file = DATA / "probe"
    file.write_text("x")
    file.unlink()


def reach_a_port() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server, socket.socket(family) as client:
            server.bind((address, 0))
            server.listen()
            client.connect(server.getsockname())


def start_a_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


NEEDED: dict[str, Callable[[], object]] = {
    "score": score,
    "load a release in a process of its own": load_in_a_process,
    "write its data": write_data,
    "ask whether the clock is synchronised": lambda: called(
        libc.adjtimex(ctypes.create_string_buffer(ADJTIMEX_BYTES))
    ),
    "TCP": reach_a_port,
    "threads": start_a_thread,
    "processes": lambda: subprocess.run([sys.executable, "-I", "-c", ""], check=True),
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


if __name__ == "__main__":
    print(
        json.dumps(
            {
                kind: {name: outcome(attempt) for name, attempt in attempts.items()}
                for kind, attempts in (("denied", DENIED), ("needed", NEEDED))
            }
        )
    )
