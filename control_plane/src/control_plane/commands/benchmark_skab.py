"""`control-plane benchmark skab`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from control_plane.commands.options import Json
from shared.command_line import console

if TYPE_CHECKING:
    from control_plane.training.skab import Counts, Row

PROTOCOL = (
    "Protocol: of each file the first {rows} rows train and the rest is judged, point for point, without "
    "point adjustment; pooled over {files} files with {points} judged points, {anomalous} of them anomalous. "
    "Settings fixed in advance: {settings}."
)


def skab(
    data: Annotated[Path, typer.Option(help="SKAB's data folder, or any part of it")],
    plot: Annotated[Path | None, typer.Option(help="PNG of each file's score over time")] = None,
    as_json: Json = False,
) -> None:
    """Judge SKAB's recordings of a pump rig: F1, and false and missed alarms in percent. Needs no network.

    Example: control-plane benchmark skab --data shared/data/skab --plot skab.png
    """
    from control_plane.training.skab import benchmark, load_settings  # scikit-learn: a second to import
    from control_plane.training.skab_files import checksum_states, load_recordings

    settings = load_settings()
    recordings = load_recordings(data, settings.train_rows)
    names = [recording.name for recording in recordings]
    states = checksum_states(recordings)
    rows = benchmark(recordings, settings)
    if plot is not None:
        from control_plane.training.skab_plot import plot_scores

        plot_scores(plot, recordings, settings)
    if as_json:
        others = {row.name: _figures(row.pooled) for row in rows}
        files = dict(zip(names, map(_figures, rows[0].per_file), strict=True))
        found = {"checksums": states, "settings": asdict(settings), "rows": others, "per_file": files}
        print(json.dumps(_figures(rows[0].pooled) | {"files": len(names)} | found))
    else:
        _show(rows, names)
        total = rows[0].pooled
        print(
            PROTOCOL.format(
                rows=settings.train_rows,
                files=len(names),
                points=total.points,
                anomalous=total.found + total.missed,
                settings=", ".join(f"{name} {value:g}" for name, value in asdict(settings).items()),
            )
        )
        print(
            "Files against the published bytes: " + ", ".join(f"{n} {state}" for state, n in states.items())
        )


def _figures(counts: "Counts") -> dict[str, float]:
    return {"f1": counts.f1, "far": counts.far, "mar": counts.mar}


def _show(rows: "list[Row]", names: list[str]) -> None:
    files = Table("file", "F1", "FAR %", "MAR %", title=rows[0].name)
    for name, counts in zip(names, rows[0].per_file, strict=True):
        files.add_row(name, *_cells(counts))
    pooled = Table("all files", "F1", "FAR %", "MAR %")
    for row in rows:
        pooled.add_row(row.name, *_cells(row.pooled))
    console().print(files, pooled)


def _cells(counts: "Counts") -> tuple[str, str, str]:
    return f"{counts.f1:.3f}", f"{counts.far:.1f}", f"{counts.mar:.1f}"
