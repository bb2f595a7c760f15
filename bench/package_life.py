"""The agent's package on a machine: installed, started, upgraded, removed, purged."""

import re

from bench.installed_agent import CONFIG, DATA, EXAMPLE, SETTINGS, UNIT, InstalledAgent, Said

# Settings that both sides changed stay ours, as an administrator would answer.
APT = (
    "apt-get", "install", "--yes", "--quiet", "--no-install-recommends",
    "--option=Dpkg::Options::=--force-confold",
)  # fmt: skip
ROWS_MORE = 20  # as often as the outbox is seen to grow: readings of four components and their audit entries
IMPORT_ALL = """
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


class PackageSteps:
    """What is tried of the package, in versions `old` and `new`."""

    def __init__(self, agent: InstalledAgent, old: str, new: str) -> None:
        self._agent, self._old, self._new = agent, old, new

    def install(self) -> Said:
        machine = self._agent.machine
        machine.run(*APT, f"/packages/old/edge-agent_{self._old}_amd64.deb")
        assert self._agent.version() == self._old
        user = machine.run("getent", "passwd", UNIT).strip().split(":")
        assert int(user[2]) < 1000, user
        assert user[6].endswith("nologin"), user
        found = machine.run("stat", "--format=%U:%G %a", DATA).strip()
        assert found == "edge-agent:edge-agent 750", found
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "inactive"
        strange = machine.run(
            "find", "/opt/edge-agent", "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l"
        )
        assert strange == "", f"others than root may write {strange}"
        machine.run("/opt/edge-agent/bin/python", "-I", "-c", IMPORT_ALL)
        size_kb = int(machine.run("du", "--summarize", "/opt/edge-agent").split()[0])
        said = f"{size_kb / 1000:.0f} MB in /opt; user {UNIT}, {DATA} its own, nothing started"
        return said, {"installed_mb": round(size_kb / 1000)}

    def start(self) -> Said:
        machine = self._agent.machine
        machine.run("cp", EXAMPLE, CONFIG)
        machine.run(
            "cp", "--archive", "/opt/edge-agent", "/opt/plant"
        )  # the plant stands through the upgrade
        plant = ("/opt/plant/bin/python", "-I", "-c", "from edge_agent.cli import main; main()", "plant")
        machine.run(
            "systemd-run",
            "--quiet",
            "--unit=plant",
            "--uid=nobody",
            *plant,
            f"--config={EXAMPLE}",
            "--site=TX01",
        )
        machine.run("systemctl", "enable", "--quiet", "--now", UNIT)
        assert machine.unit(UNIT, "ActiveState", "SubState") == {
            "ActiveState": "active",
            "SubState": "running",
        }
        machine.until(
            "readings", *self._agent.ask("buffer", "peek", "--json"), holds=["telemetry/1", '"metrics": {"']
        )
        before = self._agent.outbox()
        self._agent.await_rows(before["last_seq"] + ROWS_MORE)
        self._agent.store = before["store_id"]
        status = machine.unit(UNIT, "StatusText")["StatusText"]
        assert status, "no line for systemctl status"
        return f"store {self._agent.store[:8]}; status: {status}", {}

    def upgrade(self) -> Said:
        machine = self._agent.machine
        machine.write(SETTINGS, "# ours\nEDGE_SITE=TX01\n")
        before = self._agent.outbox()
        machine.run(*APT, f"/packages/new/edge-agent_{self._new}_amd64.deb")
        assert self._agent.version() == self._new
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "active", "does not run after the upgrade"
        assert machine.run("cat", SETTINGS) == "# ours\nEDGE_SITE=TX01\n"
        assert machine.exists(f"{SETTINGS}.dpkg-dist"), "the new version's settings are not beside ours"
        self._agent.await_rows(before["last_seq"] + ROWS_MORE)
        after = self._agent.outbox()
        assert after["store_id"] == self._agent.store
        started = machine.run(*self._agent.ask("buffer", "export", "--all"))
        versions = re.findall(r'"version": "([\d.]+)"', started)
        assert versions[-1] == self._new, versions
        rows = f"{before['last_seq']} rows before, {after['last_seq']} after"
        said = f"{self._old} to {self._new}; same store, {rows}; settings kept"
        return said, {"store_kept": True, "rows": after["last_seq"]}

    def stop(self) -> Said:
        self._agent.machine.run("systemctl", "stop", UNIT)
        told = self._agent.machine.unit(UNIT, "Result", "ExecMainStatus", "ActiveState")
        assert told == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}, told
        assert '"event": "agent_stopped"' in self._agent.machine.run(
            *self._agent.ask("buffer", "export", "--all")
        )
        assert not self._agent.machine.exists(f"{DATA}/.cache"), (
            "a library keeps something there, to send it?"
        )
        self._agent.machine.run("systemctl", "start", UNIT)
        return "status 0, its end is on the audit log; started again", {}

    def remove(self) -> Said:
        machine = self._agent.machine
        machine.run("apt-get", "remove", "--yes", "--quiet", UNIT)
        assert machine.unit(UNIT, "LoadState", "ActiveState") == {
            "LoadState": "not-found",
            "ActiveState": "inactive",
        }
        for path in (
            "/opt/edge-agent",
            "/usr/bin/edge-agent",
            "/etc/systemd/system/multi-user.target.wants/edge-agent.service",
        ):
            assert not machine.exists(path), f"{path} is still there"
        for path in (f"{DATA}/outbox.db", f"{DATA}/audit.pem", CONFIG, SETTINGS):
            assert machine.exists(path), f"{path} is gone"
        machine.run(*APT, f"/packages/new/edge-agent_{self._new}_amd64.deb")
        assert machine.unit(UNIT, "ActiveState")["ActiveState"] == "inactive"
        machine.run("systemctl", "start", UNIT)
        assert self._agent.outbox()["store_id"] == self._agent.store
        return "outbox, keys and configuration stay; installed again it goes on with the same store", {}

    def purge(self) -> Said:
        machine = self._agent.machine
        machine.run("apt-get", "purge", "--yes", "--quiet", UNIT)
        machine.run("getent", "passwd", UNIT, status=2)
        left = machine.run("find", "/etc", "/opt", "/usr", "/var", "/run", "-name", "*edge-agent*")
        ours = ("/opt/plant", "/run/systemd/system/edge-agent-probe", "/var/cache/apt")
        kept = [path for path in left.split() if not path.startswith(ours)]
        assert not kept, f"left behind: {kept}"
        return "no file, no user", {}
