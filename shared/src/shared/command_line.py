"""A program's commands, each loaded when it is used, and its failures as exit codes.

Enters: a package with a module per command. Leaves: a process's exit code: 78 for a wrong
configuration, 1 for any other known failure. Never: a command's libraries loaded for another command.
"""

import faulthandler
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import metadata
from keyword import iskeyword

import typer
from rich.console import Console

from shared import collector
from shared.errors import EXIT_CONFIG, ConfigError, PmStackError

PIPE_COLUMNS = 160


def run(package: str, commands: Mapping[str, str], about: str) -> None:
    """Run the command line. `commands` has a line of help by name; the module `package.name` holds a
    function of that name, or a typer `app` with commands of its own."""
    collector.seldom()
    faulthandler.enable()  # SIGABRT, as a watchdog sends it, leaves every thread's place on stderr
    app = typer.Typer(help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    called = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        for name, line in commands.items():
            if name == called:
                _add(app, package, name, line)
            else:
                app.command(name, help=line)(lambda: None)  # listed; never called
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("shared", package.partition(".")[0])):
            raise  # a mistake of ours, not an installation that was made small
        sys.stderr.write(f"{error.name} is not installed here: {called} needs {_extras(package)}\n")
        sys.exit(EXIT_CONFIG)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIG)
    except PmStackError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)


def console() -> Console:
    """Where tables are printed: wide enough for a digest where there is no terminal to measure."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPE_COLUMNS)


def _extras(package: str) -> str:
    """Which optional parts the distribution of `package` has."""
    distribution = f"pm-stack-smr-{package.partition('.')[0].replace('_', '-')}"
    names = metadata(distribution).get_all("Provides-Extra") or []
    return f"an extra of {distribution} ({', '.join(names)})"


def _python_name(name: str) -> str:
    """A command may be called what a module may not: `import` is in `import_`."""
    return f"{name}_" if iskeyword(name) else name


def _add(app: typer.Typer, package: str, name: str, line: str) -> None:
    module = import_module(f"{package}.{_python_name(name)}")
    group = getattr(module, "app", None)
    if group is None:
        app.command(name)(getattr(module, _python_name(name)))
    else:
        app.add_typer(group, name=name, help=line)
