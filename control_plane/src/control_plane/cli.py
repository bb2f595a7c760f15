"""`control-plane`: joins the commands; maps errors to exit codes."""

import sys

import typer

from control_plane.commands import audit, broker, keys, release, rollout, serve, train
from shared.errors import EXIT_CONFIG, ConfigError, PmStackError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("serve")(serve.serve)
app.command("broker")(broker.broker)
app.command("train")(train.train)
app.add_typer(keys.app, name="keys")
app.add_typer(release.app, name="release")
app.add_typer(rollout.app, name="rollout")
app.add_typer(audit.app, name="audit")


@app.callback()
def _root() -> None:
    """The centre: trains, registers, signs and rolls out models; keeps history and audit trail."""


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
