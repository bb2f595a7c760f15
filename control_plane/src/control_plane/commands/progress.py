"""How far a training is: a bar at a terminal, a line an epoch elsewhere, nothing for a script."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shared.command_line import console

if TYPE_CHECKING:
    from control_plane.training.optimise import Epoch

OnEpoch = Callable[["Epoch"], None]


@contextmanager
def epochs(title: str, *, quiet: bool) -> Iterator[OnEpoch]:
    """Something to call after each epoch; what it draws goes when the block ends."""
    screen = console()
    if quiet:
        yield lambda _: None
    elif not screen.is_terminal:
        yield lambda epoch: print(f"{title}: {epoch}", flush=True)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen, transient=True) as bar:
            task = bar.add_task(title)

            def draw(epoch: "Epoch") -> None:
                done = (epoch.member - 1) * epoch.epochs + epoch.epoch
                total = epoch.members * epoch.epochs
                bar.update(task, completed=done, total=total, description=f"{title}: {epoch}")

            yield draw
