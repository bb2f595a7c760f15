"""The agent's unit on a machine that has booted with it: clean, refusing, sandboxed, reloading, watched."""

import re

from bench.installed_agent import CONFIG, EXAMPLE, SETTINGS, UNIT, InstalledAgent, Said

EXPOSURE_MAX = 2.5
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


class UnitSteps:
    """What is tried of the unit."""

    def __init__(self, agent: InstalledAgent) -> None:
        self._agent = agent

    def verify(self) -> Said:
        said = self._agent.machine.run("systemd-analyze", "verify", f"{UNIT}.service")
        assert said == "", said
        told = self._agent.machine.run("systemd-analyze", "security", "--offline=true", f"{UNIT}.service")
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert found, told
        exposure = float(found[1])
        assert exposure <= EXPOSURE_MAX, f"exposure {exposure}, at most {EXPOSURE_MAX}"
        return f"systemd-analyze verify: nothing; exposure {exposure} (at most {EXPOSURE_MAX})", {
            "exposure": exposure
        }

    def refuse(self) -> Said:
        """Without a site, and then without a file, the unit fails with the reason and is not tried again."""
        machine = self._agent.machine
        for settings, reason in (("", "EDGE_SITE"), ("EDGE_SITE=TX01\n", "cannot be read")):
            machine.write(SETTINGS, settings)
            machine.run("systemctl", "start", UNIT, status=1)
            machine.until("giving up", "systemctl", "is-failed", UNIT)
            told = machine.unit(UNIT, "NRestarts", "ActiveState")
            assert told == {"NRestarts": "0", "ActiveState": "failed"}, told
            journal = machine.run("journalctl", "--unit", UNIT, "--no-pager", "--output=cat")
            assert reason in journal, journal
        return "no site, no file: the journal has the reason, no restart", {}

    def probe(self) -> Said:
        """What the sandbox denies is denied by it, and what the agent needs works in it."""
        machine = self._agent.machine
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
        machine = self._agent.machine
        process = machine.unit(UNIT, "MainPID")
        machine.write(CONFIG, "TX01: [not, a, site]\n")
        machine.run("systemctl", "reload", UNIT)
        self._agent.await_status("configuration")
        machine.run("cp", EXAMPLE, CONFIG)
        machine.run("systemctl", "reload", UNIT)
        machine.until(
            "the end of it",
            "sh",
            "-c",
            f"! systemctl show {UNIT} --property=StatusText | grep -q configuration",
        )
        assert machine.unit(UNIT, "MainPID") == process
        return "a wrong file is refused and said in the status, a good one taken; the same process", {}

    def hang(self) -> Said:
        """A process that stands still is ended and started again, on the same outbox."""
        machine, folder = self._agent.machine, "/run/systemd/system/edge-agent.service.d"
        machine.run("mkdir", folder)
        machine.write(f"{folder}/watchdog.conf", WATCHDOG)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", UNIT)
        process = machine.unit(UNIT, "MainPID")["MainPID"]
        machine.run("sh", "-c", f"kill -STOP {process}")
        machine.until(
            "a restart",
            "systemctl",
            "show",
            UNIT,
            "--property=NRestarts,SubState",
            holds=["NRestarts=1", "SubState=running"],
        )
        machine.run("rm", "-r", folder)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", UNIT)
        assert self._agent.outbox()["store_id"] == self._agent.store
        return "a stopped process was ended and started again; same store", {}
