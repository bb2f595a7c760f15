"""`make plots`: what a plant engineer would see of each simulated component, sound and struck.

`plant-TYPE.png`: one sound life, a panel a tag, with the reactor's load above. `plant-TYPE-faults.png`: each
fault that makes sense for it, with the tags that it moves most. `plant-coupling.png`: what a leaking
pump does to the steam generator behind it. `wear-laws.png`: latent performance under each law.
"""

import argparse
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.progress import track

from edge_agent.simulation import ReactorSimulator
from edge_agent.simulation.components import model_types
from edge_agent.simulation.duty import Duty
from edge_agent.simulation.faults import FAULT_TYPES
from edge_agent.simulation.generators import Columns
from edge_agent.simulation.reactor import Reactor
from shared.fault_config import TAG_FAULTS
from shared.reactor_config import DECAY_FIELDS, Component, parse_fleet
from shared.schemas import ComponentId

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CYCLES = 260  # a little over the default life
FAULT_CYCLE = 70
GLITCHES = {"spike": 15, "drop": 15}  # cycles shown either side of what lasts three
SEED = 7  # its reactor reduces load, stops once and starts up again within one life
NOISE = 0.004  # of span: under the default, so that curves lie apart
UNITS_PER_LAW = 8
PANELS = 3  # tags shown of a fault
MOVED_MIN = 0.02  # of the tag's own range: less is not to be seen
LOGARITHMIC = ("insulation_resistance",)  # told in decades; noise reaches 0
DPI = 75
SOUND, STRUCK, LOAD, MARK = "0.55", "C3", "C0", "0.2"


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(prog="make plots", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    _laws(folder / "wear-laws.png")
    _coupling(folder / "plant-coupling.png")
    for kind in track(model_types(), "drawing"):
        _life(folder / f"plant-{kind}.png", kind)
        _faults(folder / f"plant-{kind}-faults.png", kind)


def _section(kind: str, **settings: object) -> tuple[ComponentId, Component]:
    place = ComponentId("TX01", "R1", kind)
    return place, parse_fleet({"TX01": {"R1": {kind: settings}}}, "plots").components()[place]


def _history(kind: str, fault: str | None = None, seed: int = SEED, **settings: object) -> Columns | None:
    """One life; None where the fault makes no sense for the component."""
    place, section = _section(kind, **{"noise_std": NOISE, **settings})
    simulator = ReactorSimulator(section, **place._asdict(), random_seed=seed)
    sound = simulator.simulate(FAULT_CYCLE)
    if fault is not None:
        try:
            simulator.inject_fault(fault)
        except ValueError:
            return None
    rest = simulator.simulate(CYCLES - FAULT_CYCLE)
    return {name: np.concatenate([sound[name], rest[name]]) for name in sound}


def _grid(rows: int, columns: int, row_inches: float = 1.6) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(13, row_inches * rows + 0.8),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
        axis.margins(x=0.01)
    return figure, axes


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})
    plt.close(figure)


def _label(section: Component, tag: str) -> str:
    words = tag.replace("_", " ")
    return f"{words}, {section.tags[tag].unit}" if tag in section.tags else f"{words}, share of nominal"


def _life(path: Path, kind: str) -> None:
    """Load, performance and every tag of a sound component from new to failed."""
    _, section = _section(kind)
    life = _history(kind) or {}
    life["reactor_load"] = Duty(SEED, "TX01", "R1").load(0, CYCLES)
    names = ["reactor_load", "performance", *section.tags]
    figure, axes = _grid((len(names) + 1) // 2, 2)
    for axis, name in zip_longest(axes.flat, names):
        if name is None:
            axis.set_axis_off()
            continue
        axis.set_title(_label(section, name), fontsize=10, loc="left")
        axis.plot(life["cycle"], life[name], color=LOAD if name == "reactor_load" else "k", linewidth=0.9)
        axis.set_yscale("symlog" if name in LOGARITHMIC else "linear")
        _mark_limits(axis, section, name)
        _mark_failure(axis, life)
    for axis in axes[-1]:
        axis.set_xlabel("cycle", fontsize=9)
    _save(figure, path, f"{kind}: one sound life, seed {SEED} (dashed: failed; red: alarm limit)")


def _mark_failure(axis: Axes, life: Columns) -> None:
    failed = np.flatnonzero(life["true_RUL"] == 0)
    if len(failed):
        axis.axvline(failed[0], color=MARK, linewidth=0.9, linestyle="--")


def _mark_limits(axis: Axes, section: Component, name: str) -> None:
    """The fixed limits of a tag, as lines where they lie near what it shows."""
    limit = section.thresholds.limits.get(name)
    for value in (limit.low, limit.high) if limit is not None else ():
        if value is not None:
            axis.axhline(value, color=STRUCK, linewidth=0.9)
    if name == "performance":
        axis.axhline(section.fail_threshold, color=MARK, linewidth=0.9, linestyle=":")


def _faults(path: Path, kind: str) -> None:
    """A row a fault of the component, then those of one tag: grey sound, red struck, of the same seed."""
    _, section = _section(kind)
    sound = _history(kind) or {}
    cells: list[tuple[str, str, Columns] | None] = []
    for fault in sorted(FAULT_TYPES, key=lambda name: name in TAG_FAULTS):
        life = _history(kind, fault)
        if life is not None:
            cells += [(fault, tag, life) for tag in _moved(sound, life, section, fault)]
            cells += [None] * (0 if fault in TAG_FAULTS else -len(cells) % PANELS)
    figure, axes = _grid(-(-len(cells) // PANELS), PANELS, 1.45)
    for axis, cell in zip_longest(axes.flat, cells):
        if cell is None:
            axis.set_axis_off()
            continue
        fault, tag, life = cell
        axis.set_title(f"{fault}: {_label(section, tag)}", fontsize=9, loc="left")
        _compare(axis, sound[tag], life[tag], GLITCHES.get(fault))
    for axis in axes[-1]:
        axis.set_xlabel("cycle", fontsize=9)
    title = f"{kind}: faults at cycle {FAULT_CYCLE} (dotted); grey sound, red struck, seed {SEED}"
    _save(figure, path, title)


def _moved(sound: Columns, life: Columns, section: Component, fault: str) -> list[str]:
    """The tags that the fault moves most, in their own range over a life; a silent one first."""
    away: dict[str, float] = {}
    for tag in section.tags:
        span = float(np.ptp(sound[tag])) or 1.0
        silent = np.isnan(life[tag]).any()
        away[tag] = np.inf if silent else float(np.abs(life[tag] - sound[tag]).max()) / span
    found = [tag for tag in sorted(away, key=away.__getitem__, reverse=True) if away[tag] > MOVED_MIN]
    return found[: 1 if fault in TAG_FAULTS else PANELS]


def _compare(axis: Axes, sound: np.ndarray, struck: np.ndarray, around: int | None = None) -> None:
    cycles = np.arange(len(sound))
    shown = slice(None) if around is None else slice(FAULT_CYCLE - around, FAULT_CYCLE + around)
    axis.plot(cycles[shown], sound[shown], color=SOUND, linewidth=1.4)
    axis.plot(cycles[shown], struck[shown], color=STRUCK, linewidth=0.9)
    axis.axvline(FAULT_CYCLE, color=MARK, linewidth=0.9, linestyle=":")


def _coupling(path: Path) -> None:
    """One of four pumps leaks badly from FAULT_CYCLE on: flow and outlet of the exchanger behind it."""
    lives = [_reactor(leak) for leak in (False, True)]
    shown = [
        ("coolant_pump", "flow_rate"),
        ("coolant_pump", "pressure_drop"),
        ("heat_exchanger", "flow_rate"),
        ("heat_exchanger", "pressure_drop"),
        ("heat_exchanger", "temperature_out"),
        ("heat_exchanger", "secondary_temperature_out"),
    ]
    figure, axes = _grid(3, 2)
    for axis, (kind, tag) in zip(axes.flat, shown, strict=True):
        axis.set_title(f"{kind}: {_label(_section(kind)[1], tag)}", fontsize=10, loc="left")
        _compare(axis, lives[0][kind][tag], lives[1][kind][tag])
    for axis in axes[-1]:
        axis.set_xlabel("cycle", fontsize=9)
    _save(figure, path, "One reactor: a pump that leaks (red) and the steam generator behind it")


def _reactor(leaks: bool) -> Mapping[str, Columns]:
    still = {"decay_type": "linear", "slope": 1e-6, "noise_std": 0.0005}
    leak = {"type": "leak", "at_cycle": FAULT_CYCLE, "size": 3.0}
    sections = {"coolant_pump": {**still, "faults": [leak] * leaks}, "heat_exchanger": still}
    components = parse_fleet({"TX01": {"R1": sections}}, "plots").components()
    found = Reactor(components, SEED).simulate(CYCLES)
    return {place.component: columns for place, columns in found.items()}


def _laws(path: Path) -> None:
    """Latent performance of some units under each law; a dot where each fails."""
    figure, axes = _grid(2, 4, 2.4)
    for axis, law in zip_longest(axes.flat, DECAY_FIELDS):
        if law is None:
            axis.set_axis_off()
            continue
        axis.set_title(law, fontsize=10, loc="left")
        axis.set_xlabel("cycle", fontsize=9)
        axis.set_ylim(0.0, 1.05)
        for unit in range(UNITS_PER_LAW):
            life = _history("coolant_pump", None, seed=unit, decay_type=law) or {}
            axis.plot(life["cycle"], life["performance"], linewidth=0.9)
            failed = np.flatnonzero(life["true_RUL"] == 0)
            if len(failed):
                axis.plot(failed[0], life["performance"][failed[0]], "k.", markersize=5)
    _save(
        figure, path, f"Latent performance of {UNITS_PER_LAW} units under each wear law (dot: true failure)"
    )


if __name__ == "__main__":
    main()
