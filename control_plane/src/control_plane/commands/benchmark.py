"""`control-plane benchmark`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from control_plane.commands.benchmark_fleet import fleet
from control_plane.commands.benchmark_skab import skab
from control_plane.commands.options import Json
from control_plane.commands.progress import epochs
from shared.command_line import console

if TYPE_CHECKING:
    from control_plane.training.cmapss_trial import Trial

app = typer.Typer(no_args_is_help=True)
app.command()(skab)
app.command()(fleet)

SEEDS_MAX = 100
PROTOCOL = (
    "Each seed trains on the training engines alone and freezes the ONNX graph, its features and its",
    "calibration. Only then are the test files opened: the frozen model answers once, for the last window",
    "of each engine. Settings come from cmapss_settings.yaml, which held-out training engines fixed.",
    "Capped: the truth ends at 125 cycles, as the model's horizon does. Uncapped: the truth as given, where",
    "no model with this horizon can be perfect. The 90 % intervals are calibrated on training engines that",
    "the network in question did not train on; they are to hold the capped truth.",
)
HELD_OUT = (
    "A fifth of the TRAINING engines is held out from everything (seed s: part s of five), each cut at 20",
    "random moments, 7 to 145 cycles before its failure. No test file is opened.",
)


@app.callback()
def about() -> None:
    """Train and judge on public data under a protocol that is printed with the numbers."""


@app.command()
def cmapss(
    data: Annotated[
        Path, typer.Option(help="folder with train_, test_, RUL_<subset>.txt and any SHA256SUMS")
    ],
    subset: Annotated[str, typer.Option(help="FD001, FD002, FD003 or FD004")],
    seeds: Annotated[int, typer.Option(min=1, max=SEEDS_MAX, help="trainings, from seed 0 on")] = 5,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="judge on held-out training engines; open no test file")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="draw predictions and errors into this file")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="folder to keep each seed's epochs in, and to go on from after a kill")
    ] = None,
    as_json: Json = False,
) -> None:
    """NASA's turbofan engines: remaining cycles at the last window of each test engine.

    Example: control-plane benchmark cmapss --data cmapss --subset FD001 --seeds 5 --json
    """
    import torch  # seconds to import

    from control_plane.training.cmapss_files import verify
    from control_plane.training.cmapss_plot import draw
    from control_plane.training.cmapss_settings import settings_of
    from control_plane.training.cmapss_trial import run_held_out, run_test

    settings = settings_of(subset)
    files = verify(data, subset, held_out=held_out)
    torch.set_num_threads(1)  # small networks: a second thread costs more than it brings, and changes bits
    if checkpoints:
        checkpoints.mkdir(parents=True, exist_ok=True)
    run = run_held_out if held_out else run_test
    trials = []
    for seed in range(seeds):
        kept = (
            checkpoints / f"{subset}-{'held-out' if held_out else 'test'}-{seed}.pt" if checkpoints else None
        )
        with epochs(f"{subset} seed {seed}", quiet=as_json) as on_epoch:
            trials.append(run(data, subset, settings, seed, on_epoch, kept))
    if plot:
        draw(plot, subset, trials)
    if as_json:
        print(json.dumps(_summary(subset, trials, held_out=held_out) | {"files": files}))
    else:
        _show(subset, trials, held_out=held_out)
        console().print("\n".join(f"{name}: {state}" for name, state in files.items()))


def _summary(subset: str, trials: "Sequence[Trial]", *, held_out: bool) -> dict[str, Any]:
    """Means over seeds, what each seed gave, and the digests of the frozen models."""
    means = {field.name: fmean(_each(trials, field.name)) for field in fields(trials[0].scores)}
    return {
        "benchmark": "cmapss",
        "subset": subset,
        "judged_on": "held-out training engines" if held_out else "test engines",
        "engines": len(trials[0].truth),
        "seeds": len(trials),
        "rmse_capped_mean": means["rmse_capped"],
        "rmse_capped_sd": _sd(_each(trials, "rmse_capped")),
        "rmse_uncapped_mean": means["rmse_uncapped"],
        "score_capped_mean": means["score_capped"],
        "score_uncapped_mean": means["score_uncapped"],
        "bias_mean": means["bias"],
        "picp90": means["picp90"],
        "mean_width90": means["mean_width90"],
        "worst_bin_coverage": means["worst_bin_coverage"],
        "late_call_rate": means["late_call_rate"],
        "seconds_per_seed": fmean(trial.seconds for trial in trials),
        "trials": [
            {"seed": t.seed, "model": t.seal, "seconds": t.seconds, **asdict(t.scores)} for t in trials
        ],
    }


def _show(subset: str, trials: "Sequence[Trial]", *, held_out: bool) -> None:
    names = [field.name for field in fields(trials[0].scores)]
    table = Table(
        title=f"C-MAPSS {subset}, {len(trials[0].truth)} answers, mean ± sd over {len(trials)} seeds"
    )
    for heading in ("", *(f"seed {trial.seed}" for trial in trials), "mean", "sd"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = {name: _each(trials, name) for name in names} | {"seconds": [trial.seconds for trial in trials]}
    for name, values in rows.items():
        numbers = (*values, fmean(values), _sd(values))
        table.add_row(
            name.replace("_", " "), *(f"{value:.3g}" if value < 1 else f"{value:.2f}" for value in numbers)
        )
    screen = console()
    screen.print("\n".join(HELD_OUT if held_out else PROTOCOL))
    screen.print(table)
    for trial in trials:
        screen.print(f"seed {trial.seed}: frozen model {trial.seal}")


def _each(trials: "Sequence[Trial]", name: str) -> list[float]:
    return [getattr(trial.scores, name) for trial in trials]


def _sd(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
