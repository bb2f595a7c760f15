"""What a command line says where the machine or the installation lacks something."""

import faulthandler
import getpass
import subprocess
import sys

import pytest

from control_plane import cli
from control_plane.commands import options
from shared import command_line
from shared.errors import EXIT_CONFIG


@pytest.fixture
def nobody(monkeypatch):
    """A container's user: an id without a name, and no variable that gives one."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.delenv("PM_USER", raising=False)


def told(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `control-plane ARGUMENTS`, its command imported anew."""
    for module in [m for m in sys.modules if m.startswith(f"control_plane.commands.{arguments[0]}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(faulthandler, "enable", lambda: None)  # pytest has its own
    monkeypatch.setattr(sys, "argv", ["control-plane", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), *capsys.readouterr()


@pytest.mark.parametrize("command", ["rollout", "alerts"])
def test_commands_work_for_a_user_without_a_name(command, nobody, monkeypatch, capsys):
    """What asks nobody's name runs as any user id."""
    assert told(monkeypatch, capsys, command, "--help")[0] == 0


def test_who_asks_must_be_said_where_the_user_has_no_name(nobody, monkeypatch, capsys, tmp_path):
    """No act comes on the record without a person's name."""
    code, _, error = told(monkeypatch, capsys, "rollout", "pause", "r-1", "--data-dir", str(tmp_path))
    assert code == EXIT_CONFIG
    assert "PM_USER" in error
    assert not list(tmp_path.iterdir())


def test_who_asks_may_be_said_by_the_environment(nobody, monkeypatch, capsys, tmp_path):
    """PM_USER names who asks; the command then goes on to look for the roll-out."""
    monkeypatch.setenv("PM_USER", "alice")
    code, _, error = told(monkeypatch, capsys, "rollout", "pause", "r-1", "--data-dir", str(tmp_path))
    assert (code, "r-1" in error) == (1, True)


def test_login_name_is_who_asks():
    assert options.me() == getpass.getuser()


def test_missing_library_is_said_with_the_extras_that_bring_it(monkeypatch, capsys):
    """An installation for inference alone says what it lacks, rather than how Python found out."""

    def lacking(name: str) -> None:
        raise ModuleNotFoundError("No module named 'deltalake'", name="deltalake")

    monkeypatch.setattr(command_line, "import_module", lacking)
    code, _, error = told(monkeypatch, capsys, "ingest", "--help")
    assert code == EXIT_CONFIG
    assert "deltalake is not installed here: ingest needs an extra of pm-stack-smr-control-plane" in error


def test_the_agent_loads_nothing_that_its_libraries_alone_would_have():
    """Where the centre's libraries lie beside it: they would cost half as much again, in time and memory."""
    code = (
        "import sys; sys.argv[1:] = ['run', '--help']\n"
        "from edge_agent.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'pandas', 'boto3', 'pyarrow'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
