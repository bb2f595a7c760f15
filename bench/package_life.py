"""What happens to the agent's package on a site's machine: each step does it there and says what was found."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.debian_machine import DebianMachine

UNIT = "edge-agent"
CONFIG, DATA = "/etc/edge-agent/reactor_config.yaml", "/var/lib/edge-agent"
SETTINGS = "/etc/edge-agent/agent.env"
EXAMPLE = "/usr/share/doc/edge-agent/examples/reactor_config.yaml"
APT = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold")
EXPOSURE_MAX = 2.5
ROWS_BEFORE, ROWS_AFTER = 20, 20  # as often as the outbox is seen to grow, two components and their audit entries
WATCHDOG = "[Service]\nWatchdogSec=6s\nTimeoutAbortSec=5s\n"  # the unit's own minute would only be waited for
PROBE = """[Service]
Type=oneshot
WatchdogSec=0
Restart=no
ExecStartPre=
ExecStart=
ExecStart=/opt/edge-agent/bin/python -I /packages/sandbox_probe.py
StandardOutput=file:/run/probe.json
"""

Said = tuple[str, dict[str, Any]]  # a line for people, figures for the last line


class PackageLife:
    """The steps, in their order; each raises CommandFailed or AssertionError where it is not as it should be."""

    def __init__(self, machine: DebianMachine, old: str, new: str) -> None:
        self._machine, self._old, self._new = machine, old, new
        self._store = ""

    def steps(self) -> list[tuple[str, Callable[[], Said]]]:
        """What is tried, and how."""
        return [
            ("installs without a network", self.install),
            ("unit is clean", self.verify),
            ("a wrong configuration is said once", self.refuse),
            ("starts and fills its outbox", self.start),
            ("works in its sandbox", self.probe),
            ("reloads", self.reload),
            ("watchdog", self.hang),
            ("upgrades", self.upgrade),
            ("drains and stops", self.stop),
            ("removed, keeps what is the site's", self.remove),
            ("purged, leaves nothing", self.purge),
        ]

    def install(self) -> Said:
        machine = self._machine
        machine.run(*APT, f"/packages/old/edge-agent_{self._old}_amd64.deb")
        assert self._version() == self._old
        user = machine.run("getent", "passwd", UNIT).strip().split(":")
        assert int(user[2]) < 1000, user
        assert user[6].endswith("nologin"), user
        found = machine.run("stat", "--format=%U:%G %a", DATA).strip()
        assert found == "edge-agent:edge-agent 750", found
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "inactive"
        strange = machine.run("find", "/opt/edge-agent", "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l")
        assert strange == "", f"others than root may write {strange}"
        machine.run("/opt/edge-agent/bin/python", "-I", "-c", _IMPORT_ALL)
        size_kb = int(machine.run("du", "--summarize", "/opt/edge-agent").split()[0])
        said = f"{size_kb / 1000:.0f} MB in /opt; user {UNIT}, {DATA} its own, nothing started"
        return said, {"installed_mb": round(size_kb / 1000)}

    def verify(self) -> Said:
        said = self._machine.run("systemd-analyze", "verify", f"{UNIT}.service")
        assert said == "", said
        told = self._machine.run("systemd-analyze", "security", "--offline=true", f"{UNIT}.service")
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert found, told
        exposure = float(found[1])
        assert exposure <= EXPOSURE_MAX, f"exposure {exposure}, at most {EXPOSURE_MAX}"
        return f"systemd-analyze verify: nothing; exposure {exposure} (at most {EXPOSURE_MAX})", {"exposure": exposure}

    def refuse(self) -> Said:
        """Without a site, and then without a file, the unit fails with the reason and is not tried again."""
        machine = self._machine
        for settings, reason in (("", "EDGE_SITE"), ("EDGE_SITE=TX01\n", "cannot be read")):
            machine.write(SETTINGS, settings)
            machine.run("systemctl", "start", UNIT, status=1)
            machine.until("giving up", "systemctl", "is-failed", UNIT)
            told = machine.unit(UNIT, "NRestarts", "ActiveState")
            assert told == {"NRestarts": "0", "ActiveState": "failed"}, told
            journal = machine.run("journalctl", "--unit", UNIT, "--no-pager", "--output=cat")
            assert reason in journal, journal
        return "no site, no file: the journal has the reason, no restart", {}

    def start(self) -> Said:
        machine = self._machine
        machine.run("cp", EXAMPLE, CONFIG)
        machine.run("cp", "--archive", "/opt/edge-agent", "/opt/plant")  # the plant stands through the upgrade
        plant = ("/opt/plant/bin/python", "-I", "-c", "from edge_agent.cli import main; main()", "plant")
        machine.run(
            "systemd-run", "--quiet", "--unit=plant", "--uid=nobody", *plant, f"--config={EXAMPLE}", "--site=TX01"
        )
        machine.run("systemctl", "enable", "--quiet", "--now", UNIT)
        assert machine.unit(UNIT, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
        machine.until("readings", *self._ask("buffer", "peek", "--json"), holds=["telemetry/1", '"metrics": {"'])
        before = self._outbox()
        self._await_rows(before["last_seq"] + ROWS_BEFORE)
        self._store = before["store_id"]
        status = machine.unit(UNIT, "StatusText")["StatusText"]
        assert status, "no line for systemctl status"
        return f"store {self._store[:8]}; status: {status}", {}

    def probe(self) -> Said:
        """What the sandbox denies is denied by it, and what the agent needs works in it."""
        machine = self._machine
        for command in (
            ("install", "--directory", "--mode=0777", "/var/lib/probe-open", "/home/probe"),
            ("touch", "/tmp/probe-marker"),
            ("mknod", "/dev/probe-marker", "p"),
            ("cp", f"/usr/lib/systemd/system/{UNIT}.service", "/run/systemd/system/edge-agent-probe.service"),
            ("mkdir", "/run/systemd/system/edge-agent-probe.service.d"),
        ):
            machine.run(*command)
        machine.write("/run/systemd/system/edge-agent-probe.service.d/probe.conf", PROBE)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "edge-agent-probe")
        inside = machine.json("cat", "/run/probe.json")
        outside = machine.json(
            "runuser", "-u", UNIT, "--", "/opt/edge-agent/bin/python", "-I", "/packages/sandbox_probe.py"
        )
        broken = {name: said for name, said in inside["needed"].items() if said != "done"}
        assert not broken, f"the sandbox keeps the agent from: {broken}"
        allowed = [name for name, said in inside["denied"].items() if said == "done"]
        assert not allowed, f"the sandbox lets through: {', '.join(allowed)}"
        alone = [name for name, said in outside["denied"].items() if said == "done"]
        rest = [name for name in inside["denied"] if name not in alone]
        said = (
            f"{', '.join(inside['needed'])}: each works; denied by the sandbox alone: {', '.join(alone)}; "
            f"denied to the user outside it as well: {', '.join(rest) or 'nothing'}"
        )
        return said, {"denied": len(inside["denied"]), "denied_by_sandbox_alone": len(alone)}

    def reload(self) -> Said:
        machine = self._machine
        process = machine.unit(UNIT, "MainPID")
        machine.write(CONFIG, "TX01: [not, a, site]\n")
        machine.run("systemctl", "reload", UNIT)
        self._await_status("configuration")
        machine.run("cp", EXAMPLE, CONFIG)
        machine.run("systemctl", "reload", UNIT)
        machine.until("the end of it", "sh", "-c", f"! systemctl show {UNIT} --property=StatusText | grep -q configuration")
        assert machine.unit(UNIT, "MainPID") == process
        return "a wrong file is refused and said in the status, a good one taken; the same process", {}

    def hang(self) -> Said:
        """A process that stands still is ended and started again, on the same outbox."""
        machine, folder = self._machine, "/run/systemd/system/edge-agent.service.d"
        machine.run("mkdir", folder)
        machine.write(f"{folder}/watchdog.conf", WATCHDOG)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", UNIT)
        process = machine.unit(UNIT, "MainPID")["MainPID"]
        machine.run("kill", "-STOP", process) if machine.exists("/usr/bin/kill") else machine.run(
            "sh", "-c", f"kill -STOP {process}"
        )
        machine.until("a restart", "systemctl", "show", UNIT, "--property=NRestarts,SubState", holds=["NRestarts=1", "SubState=running"])
        machine.run("rm", "-r", folder)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", UNIT)
        assert self._outbox()["store_id"] == self._store
        return "a stopped process was ended and started again; same store", {}

    def upgrade(self) -> Said:
        machine = self._machine
        machine.write(SETTINGS, "# ours\nEDGE_SITE=TX01\n")
        before = self._outbox()
        machine.run(*APT, f"/packages/new/edge-agent_{self._new}_amd64.deb")
        assert self._version() == self._new
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "active", "does not run after the upgrade"
        assert machine.run("cat", SETTINGS) == "# ours\nEDGE_SITE=TX01\n"
        assert machine.exists(f"{SETTINGS}.dpkg-dist"), "the new version's settings are not beside ours"
        self._await_rows(before["last_seq"] + ROWS_AFTER)
        after = self._outbox()
        assert after["store_id"] == self._store
        started = machine.run(*self._ask("buffer", "export", "--all"))
        versions = re.findall(r'"version": "([\d.]+)"', started)
        assert versions[-1] == self._new, versions
        said = f"{self._old} to {self._new}; same store, {before['last_seq']} rows and {after['last_seq']}; settings kept"
        return said, {"store_kept": True, "rows": after["last_seq"]}

    def stop(self) -> Said:
        self._machine.run("systemctl", "stop", UNIT)
        told = self._machine.unit(UNIT, "Result", "ExecMainStatus", "ActiveState")
        assert told == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}, told
        assert '"event": "agent_stopped"' in self._machine.run(*self._ask("buffer", "export", "--all"))
        self._machine.run("systemctl", "start", UNIT)
        return "status 0, its end is on the audit log; started again", {}

    def remove(self) -> Said:
        machine = self._machine
        machine.run("apt-get", "remove", "--yes", "--quiet", UNIT)
        assert machine.unit(UNIT, "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
        for path in ("/opt/edge-agent", "/usr/bin/edge-agent", "/etc/systemd/system/multi-user.target.wants/edge-agent.service"):
            assert not machine.exists(path), f"{path} is still there"
        for path in (f"{DATA}/outbox.db", f"{DATA}/audit.pem", CONFIG, SETTINGS):
            assert machine.exists(path), f"{path} is gone"
        machine.run(*APT, f"/packages/new/edge-agent_{self._new}_amd64.deb")
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "inactive"
        machine.run("systemctl", "start", UNIT)
        assert self._outbox()["store_id"] == self._store
        return "outbox, keys and configuration stay; installed again it goes on with the same store", {}

    def purge(self) -> Said:
        machine = self._machine
        machine.run("apt-get", "purge", "--yes", "--quiet", UNIT)
        machine.run("getent", "passwd", UNIT, status=2)
        left = machine.run("find", "/etc", "/opt", "/usr", "/var", "/run", "-name", "*edge-agent*")
        kept = [path for path in left.split() if not path.startswith(("/var/cache/apt", "/run/systemd/system/edge-agent-probe"))]
        assert not kept, f"left behind: {kept}"
        return "no file, no user", {}

    def _version(self) -> str:
        return self._machine.run("dpkg-query", "--show", "--showformat=${Version}", UNIT)

    def _ask(self, *command: str) -> tuple[str, ...]:
        return ("runuser", "-u", UNIT, "--", "edge-agent", *command, "--data-dir", DATA)

    def _outbox(self) -> dict[str, Any]:
        found = self._machine.json(*self._ask("buffer", "stats", "--json"))
        assert isinstance(found, dict)
        return found

    def _await_rows(self, number: int) -> None:
        code = f"import json, sys; sys.exit(json.load(sys.stdin)['last_seq'] < {number})"
        asked = " ".join(self._ask("buffer", "stats", "--json"))
        self._machine.until(f"row {number}", "sh", "-c", f'{asked} | python3 -c "{code}"')

    def _await_status(self, part: str) -> None:
        self._machine.until(f"status {part}", "systemctl", "show", UNIT, "--property=StatusText", holds=[part])


_IMPORT_ALL = """
import importlib, pkgutil, sys
import edge_agent, shared
for package in (edge_agent, shared):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name != "edge_agent.load_check":
            importlib.import_module(module.name)
strange = {"torch", "mlflow", "fastapi", "control_plane", "pyarrow"} & set(sys.modules)
assert not strange, strange
assert edge_agent.__file__.startswith("/opt/edge-agent/"), edge_agent.__file__
"""


def figures(found: list[Said]) -> dict[str, Any]:
    """All figures in one."""
    return {name: value for _, numbers in found for name, value in numbers.items()}


def release(folder: Path) -> None:
    """A small release for the probe to load: manifest.json and model.onnx."""
    from tests.support.releases import make_release, write_release

    write_release(folder, *make_release())
