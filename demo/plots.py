"""`make plots`: each simulated component over its life, sound and with each fault that makes sense for it.

Wear laws in one picture, a picture a component: a row a tag, a curve a fault. Only curves that leave the
sound one are drawn, so that a plant engineer sees which tag tells which fault.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.progress import track

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.components import model_types
from edge_agent.simulation.faults import FAULT_TYPES
from edge_agent.simulation.generators import Columns
from shared.reactor_config import DECAY_FIELDS, Component, parse_fleet
from shared.schemas import ComponentId

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

CYCLES = 240
FAULT_CYCLE = 80
TOO_SHORT_TO_SEE = ("spike", "drop")  # of three cycles: not visible over a life
SEED = 7
UNITS_PER_LAW = 8
VISIBLE_SPANS = 0.02  # of a tag's own range in the picture: less is under the line


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(prog="make plots", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    _laws(folder / "wear-laws.png")
    for kind in track(model_types(), "drawing"):
        _component(folder / f"plant-{kind}.png", kind)


def _section(kind: str, **settings: object) -> tuple[ComponentId, Component]:
    place = ComponentId("TX01", "R1", kind)
    return place, parse_fleet({"TX01": {"R1": {kind: settings}}}, "plots").components()[place]


def _history(kind: str, fault: str | None, seed: int = SEED, **settings: object) -> Columns | None:
    """One life; None where the fault makes no sense for the component."""
    place, section = _section(kind, **{"noise_std": 0.004, **settings})
    simulator = ReactorSimulator(section, **place._asdict(), random_seed=seed)
    sound = simulator.simulate(FAULT_CYCLE)
    if fault is not None:
        try:
            simulator.inject_fault(fault)
        except ValueError:
            return None
    rest = simulator.simulate(CYCLES - FAULT_CYCLE)
    return {name: np.concatenate([sound[name], rest[name]]) for name in sound}


def _component(path: Path, kind: str) -> None:
    _, section = _section(kind)
    lives = {fault: _history(kind, fault) for fault in (None, *FAULT_TYPES) if fault not in TOO_SHORT_TO_SEE}
    rows = ["performance", *section.tags]
    figure, axes = plt.subplots(
        (len(rows) + 1) // 2,
        2,
        figsize=(13, 1.9 * ((len(rows) + 1) // 2) + 1),
        layout="constrained",
        sharex=True,
    )
    for axis, name in zip(axes.flat, rows, strict=False):
        unit = section.tags[name].unit if name in section.tags else "1"
        axis.set_title(f"{name} ({unit})", fontsize=10, loc="left")
        axis.axvline(FAULT_CYCLE, color="0.7", linewidth=0.8)
        _curves(axis, lives, name)
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    handles = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()[1:]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=9)
    figure.suptitle(f"{kind}: faults at cycle {FAULT_CYCLE}, seed {SEED}")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _curves(axis: Axes, lives: dict[str | None, Columns | None], name: str) -> None:
    sound = lives[None]
    if sound is None:
        return
    span = float(np.ptp(sound[name])) or 1.0
    for number, (fault, life) in enumerate(lives.items()):
        if life is None:
            continue
        away = np.nanmax(np.abs(life[name] - sound[name]), initial=0.0) / span
        hidden = np.isnan(life[name]).any()
        if fault is None or away > VISIBLE_SPANS or hidden:
            colour = "k" if fault is None else f"C{number % 10}"
            axis.plot(life["cycle"], life[name], color=colour, linewidth=0.9, label=fault or "sound")


def _laws(path: Path) -> None:
    """Latent performance of some units under each law; a dot where each fails."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 5), layout="constrained", sharey=True)
    for axis, law in zip(axes.flat, DECAY_FIELDS, strict=False):
        axis.set_title(law, fontsize=10, loc="left")
        for unit in range(UNITS_PER_LAW):
            life = _history("coolant_pump", None, seed=unit, decay_type=law)
            if life is None:
                continue
            axis.plot(life["cycle"], life["performance"], linewidth=0.9)
            failed = np.flatnonzero(life["true_RUL"] == 0)
            if len(failed):
                axis.plot(failed[0], life["performance"][failed[0]], "k.", markersize=5)
    for axis in axes.flat[len(DECAY_FIELDS) :]:
        axis.set_axis_off()
    figure.suptitle(f"Latent performance of {UNITS_PER_LAW} units under each wear law (dot: true failure)")
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
