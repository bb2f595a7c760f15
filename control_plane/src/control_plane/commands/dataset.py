"""`control-plane dataset`: the training table."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import FleetOption, Json, tags_of
from control_plane.commands.steps import Steps
from control_plane.training.dataset import PARTITION_COLS, DatasetInfo, read_info
from control_plane.training.dataset_build import build
from control_plane.training.source_tables import read_failures
from shared.features import WINDOW_CYCLES, unit_spec

app = typer.Typer(no_args_is_help=True)

LOCAL_MASTER = "local[*]"


class Engine(StrEnum):
    LOCAL = "local"
    SPARK = "spark"


@app.command(name="build")
def build_(
    data: Annotated[Path, typer.Option(help=".csv or .parquet with labels; or a lake, with --failures")],
    component_type: Annotated[str, typer.Option(help="for example coolant_pump")],
    output: Annotated[Path, typer.Option(help="folder of the table; it must not be there yet")],
    component: Annotated[
        list[str] | None, typer.Option(help="only components of this name; a lake: left out, the type's name")
    ] = None,
    failures: Annotated[
        Path | None, typer.Option(help="table site_id, reactor_id, component, cycle: when a life ended")
    ] = None,
    leave_out_unfailed: Annotated[
        bool, typer.Option("--leave-out-unfailed", help="units without a failure, instead of refusing")
    ] = False,
    window: Annotated[
        int, typer.Option(min=2, max=1000, help="cycles that a row's features see")
    ] = WINDOW_CYCLES,
    partition: Annotated[list[str] | None, typer.Option(help="columns; left out: site_id, component")] = None,
    engine: Annotated[Engine, typer.Option(help="both give the same bits")] = Engine.LOCAL,
    spark_master: Annotated[
        str, typer.Option(envvar="SPARK_MASTER", help="spark: for example spark://host:7077, or yarn")
    ] = LOCAL_MASTER,
    fleet: FleetOption = None,
    as_json: Json = False,
) -> None:
    """Build a partitioned training table: tags, features, RUL and status of every cycle.

    Rows of a file bring their labels (`true_RUL` or `RUL`); those of a plant have none, so a lake needs
    the failures that maintenance recorded. The table is Delta (and so Parquet), and is built whole or
    not at all.

    Example: control-plane dataset build --data pumps.parquet --component-type coolant_pump --output pumps
    Example: control-plane dataset build --data data/lake --failures failures.csv --component-type
    coolant_pump --leave-out-unfailed --output pumps --engine spark --spark-master spark://host:7077
    """
    tags = tuple(tags_of(component_type, fleet))
    spec = unit_spec(tags, window).model_copy(update={"component_type": component_type})
    known = read_failures(failures) if failures else None
    chosen = component or ([component_type] if known is not None else [])
    with Steps("components", quiet=as_json) as steps:
        info = build(
            data, output, spec, chosen, known, steps.say, leave_out=leave_out_unfailed,
            spark_master=spark_master if engine is Engine.SPARK else None,
            partition_cols=partition or PARTITION_COLS,
        )  # fmt: skip
    _show(output, info, as_json=as_json)


@app.command()
def show(
    dataset: Annotated[Path, typer.Argument(help="folder that `build` made")], as_json: Json = False
) -> None:
    """What a built data set says of itself.

    Example: control-plane dataset show pumps
    """
    _show(dataset, read_info(dataset), as_json=as_json)


def _show(folder: Path, info: DatasetInfo, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(info.model_dump(mode="json") | {"path": str(folder)}))
        return
    source = info.source if info.source_version is None else f"{info.source} at version {info.source_version}"
    print(f"{folder}: {info.units} units, {info.rows} rows of {info.component_type} from {source}")
    print(f"  made by {info.engine}, version {info.version}, SHA-256 {info.sha256}")
    print(f"  features {info.feature_spec_hash}")
