"""One control plane and SITES sites (1,000 unless told): a roll-out from its start to the last commit.

The control plane is `control-plane serve --part fleet`, one process with one controller, mutual TLS on
the fleet service and the repositories. Sites are light agents (`bench.fleet_agents`) in two processes:
real certificates, streams and TUF verification, no polling, no scoring. All share the machine's cores.
The release is small (a model of about 1 KiB); its roll-out is a canary, then everybody, with no soak.

    seconds          from the roll-out's start to the last site's COMMITTED in the journal
    publish_seconds  of that, until the last site's director metadata was signed and written
    kib_per_site     what the control plane's memory (RSS) grew by from before the first connection until
                     after the roll-out, a site; `connected_kib_per_site` until all were connected
    bytes_per_site   both ways over loopback from the first call to the last commit, headers and TLS
                     included; in a network namespace of its own where that is allowed (`exact`)

Limit: 300 KiB a site.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.arguments import takes_none
from control_plane.layout import Layout
from control_plane.release.journal import Kind
from control_plane.release.rollout_plan import Plan
from control_plane.release.rollout_requests import Requests
from edge_agent.audit.log import origin
from edge_agent.enrolment import signing_request
from shared.listen import free_port
from shared.log_key import LogKey
from shared.private_file import write_private
from shared.tls import IdentityFiles
from tests.support.releases import PASSPHRASE, Centre, make_release

SITES = int(os.environ.get("SITES", "1000"))
AGENT_PROCESSES = 2
KIB_PER_SITE_MAX = 300
CONNECT_DEADLINE_S = 300.0
COMMIT_DEADLINE_S = 900.0
SETTLE_S = 5.0  # for idle connections to be closed before memory is read
CLONE_NEWNET = 0x40000000  # sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # sys/ioctl.h, net/if.h
CONFIG = Path("reactor_config.yaml")


def main() -> None:
    """Print the figures beside their limit; the last line is JSON."""
    exact = own_network()
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        figures = measure(Path(name))
    held = figures["kib_per_site"] <= KIB_PER_SITE_MAX
    print(f"start to last commit  {figures['seconds']:>10} s, {SITES} sites")
    print(f"  of that publishing  {figures['publish_seconds']:>10} s")
    print(f"memory a site         {figures['kib_per_site']:>10} KiB (limit: at most {KIB_PER_SITE_MAX})")
    print(f"  once connected      {figures['connected_kib_per_site']:>10} KiB")
    print(f"bytes a site          {figures['bytes_per_site']:>10,}")
    print(json.dumps({"benchmark": "fleet", "sites": SITES, **figures, "exact": exact, "held": held}))


def measure(folder: Path) -> dict[str, float]:
    """Set everything up, roll out once, end everything."""
    sites = tuple(f"S{number:04}" for number in range(SITES))
    say(f"keys, repositories and {SITES} directors")
    centre = Centre(folder, sites)
    release = centre.publish(*make_release())
    say(f"enrol {SITES} sites")
    folders = enrol(centre.layout, sites, folder / "sites")
    fleet, repositories, enrolment = (f"127.0.0.1:{free_port()}" for _ in range(3))
    serve = start_centre(centre, fleet, repositories, enrolment)
    agents: list[subprocess.Popen[bytes]] = []
    try:
        before_kib, before_bytes = rss_kib(serve.pid), loopback_bytes()
        say("connect")
        for part in range(AGENT_PROCESSES):
            own = [str(each) for each in folders[part::AGENT_PROCESSES]]
            agents.append(started("-m", "bench.fleet_agents", fleet, repositories, *own))
        wait_until(lambda: len(centre.layout.store().sites()) == SITES, CONNECT_DEADLINE_S, "all connected")
        time.sleep(SETTLE_S)
        connected_kib = rss_kib(serve.pid)
        seconds, publishing = roll_out(centre.layout, release, sites)
        all_bytes = loopback_bytes() - before_bytes
        time.sleep(SETTLE_S)
        after_kib = rss_kib(serve.pid)
    finally:
        for process in (*agents, serve):
            process.send_signal(signal.SIGTERM)
        for process in (*agents, serve):
            process.wait(30)
    return {
        "seconds": round(seconds, 1),
        "publish_seconds": round(publishing, 1),
        "kib_per_site": round((after_kib - before_kib) / SITES, 1),
        "connected_kib_per_site": round((connected_kib - before_kib) / SITES, 1),
        "bytes_per_site": round(all_bytes / SITES),
    }


def enrol(layout: Layout, sites: tuple[str, ...], folder: Path) -> list[Path]:
    """Every site with the identity that `edge-agent enroll` would leave; its folder."""
    register = layout.register()
    office = layout.enrolment(register)
    for site in sites:
        own, files = folder / site, IdentityFiles(folder / site / "identity")
        token, _ = office.token(site)
        audit_key = str(LogKey.load_or_create(own / "audit.pem").verifier(origin(site)))
        granted = office.enrol(site, token, signing_request(site, files.load_or_create_key()), audit_key)
        files.write(granted.certificate.encode(), granted.authority.encode())
        write_private(own / "trust" / "image_root.json", granted.image_root)
        write_private(own / "trust" / "director_root.json", granted.director_root)
    register.close()
    return [folder / site for site in sites]


def start_centre(centre: Centre, fleet: str, repositories: str, enrolment: str) -> subprocess.Popen[bytes]:
    """The control plane's fleet part, once it listens."""
    serve = started(
        "-c", "from control_plane.cli import main; main()",
        "serve", "--part", "fleet", "--config", str(CONFIG), "--data-dir", str(centre.layout.data_dir),
        "--centre-name", "127.0.0.1", "--fleet-listen", fleet, "--repository-listen", repositories,
        "--enrol-listen", enrolment, "--director-keys", str(centre.keys),
    )  # fmt: skip
    wait_until(
        lambda: serve.poll() is not None or listens(repositories), CONNECT_DEADLINE_S, "the control plane"
    )
    time.sleep(SETTLE_S)
    return serve


def roll_out(layout: Layout, release: str, sites: tuple[str, ...]) -> tuple[float, float]:
    """Seconds from the start to the last commit, and to the last command."""
    store = layout.store()
    plan = Plan.model_validate({"soak_s": 0, "rings_percent": (), "gate": {"windows_min": 0}})
    say("roll out")
    began = time.monotonic()
    Requests(layout.repository, store, layout.centre_log(), "bench").start(release, sites, plan)
    waiting, commanded, published, seen = set(sites), set(sites), 0.0, 0
    while waiting:
        if time.monotonic() > began + COMMIT_DEADLINE_S:
            raise TimeoutError(f"{len(waiting)} sites have not committed; first: {sorted(waiting)[:3]}")
        for line in store.events(seen):
            seen = line.number
            if line.event.kind is Kind.COMMANDED:
                commanded.discard(line.event.site)
            if line.event.kind is Kind.COMMITTED:
                waiting.discard(line.event.site)
            if line.event.kind in (Kind.REFUSED, Kind.ROLLED_BACK):
                raise RuntimeError(f"{line.event.site} refused: {line.event.detail}")
        if not commanded and not published:
            published = time.monotonic() - began
        time.sleep(0.1)
    return time.monotonic() - began, published


# --- the machine ----------------------------------------------------------------------------------


def started(*arguments: str) -> subprocess.Popen[bytes]:
    """A Python program that ends with this one's SIGTERM; its errors are seen."""
    environment = os.environ | {"PM_KEY_PASSPHRASE": PASSPHRASE}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )


def own_network() -> bool:
    """Move to a network namespace where nobody else speaks; False where that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        [flags] = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
    return True


def loopback_bytes() -> int:
    """Received over loopback so far; each byte sent is one received."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def rss_kib(pid: int) -> int:
    """A process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has ended")


def listens(address: str) -> bool:
    """Whether somebody takes a connection there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], bool], deadline_s: float, what: str) -> None:
    """Look every tenth of a second; TimeoutError says what did not come."""
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(0.1)


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
