"""`edge-agent`: joins the commands; maps errors to exit codes."""

import sys

import typer

from edge_agent.commands import check, model, plant, read, run, simulate
from shared.errors import EXIT_CONFIG, ConfigError, PmStackError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("check")(check.check)
app.command("plant")(plant.plant)
app.command("read")(read.read)
app.command("simulate")(simulate.simulate)
app.command("run")(run.run)
app.add_typer(model.app, name="model")


@app.callback()
def _root() -> None:
    """One site's daemon: polls the plant read-only, scores locally, loses no reading."""


def main() -> None:
    """Run the command line; exit 78 on a wrong configuration, 1 on any other known failure."""
    try:
        app()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CONFIG)
    except PmStackError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
