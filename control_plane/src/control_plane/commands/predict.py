"""`control-plane predict`."""

import csv
import json
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from control_plane.commands.options import Json
from control_plane.serving.client import Answer, RULInferenceClient
from control_plane.serving.server_dialled import token_on_hand
from shared.errors import Rejected
from shared.listen import parse_endpoint
from shared.schemas import ComponentId, Window, utc_now

ROWS_MAX = 1_000  # cycles of the longest window that a release takes
MEANING = {
    "ok": "",
    "beyond_horizon": "beyond the horizon: healthy further than the model can see",
    "withheld": "withheld",
    "not_modelled": "this type has no RUL model",
}


def predict(
    window: Annotated[Path, typer.Argument(help="CSV: a header of tags in the model's order, a row a cycle")],
    component: Annotated[str, typer.Option(help="site/reactor/component, for the audit record")],
    component_type: Annotated[str, typer.Option(help="when it differs from the component's name")] = "",
    inference: Annotated[str, typer.Option(help="HOST:PORT of the inference server")] = "127.0.0.1:50051",
    as_json: Json = False,
) -> None:
    """Ask the inference server about a window, oldest cycle first; an empty cell is a bad value.

    A bearer token is taken from PM_INFERENCE_TOKEN. The answer is on the audit record.

    Example: control-plane predict window.csv --component TX01/R1/coolant_pump

    Example: control-plane predict window.csv --component TX01/R1/pump_a --component-type coolant_pump --json
    """
    parse_endpoint(inference, "--inference")
    try:
        place = ComponentId.from_key(component)
    except ValueError as error:
        raise Rejected(f"--component: found {component!r}; expected site/reactor/component") from error
    with RULInferenceClient(inference, token=token_on_hand()) as client:
        answer = client.predict(_window(window, place, component_type or place.component))
    print(json.dumps(_fields(answer)) if as_json else _told(answer))


def _window(path: Path, place: ComponentId, component_type: str) -> Window:
    """Rejected names the line and cell that is no number."""
    with path.open(newline="") as file:
        tags, *rows = list(csv.reader(file, strict=True)) or [[]]
    if not 1 <= len(rows) <= ROWS_MAX:
        raise Rejected(
            f"{path}: found {len(rows)} rows after the header; expected 1 to {ROWS_MAX}, one a cycle"
        )
    values = np.full((len(rows), len(tags)), np.nan, np.float32)
    for number, row in enumerate(rows):
        if len(row) != len(tags):
            raise Rejected(f"{path}, line {number + 2}: found {len(row)} cells; the header has {len(tags)}")
        for column, cell in enumerate(row):
            try:
                values[number, column] = float(cell) if cell.strip() else math.nan
            except ValueError as error:
                where = f"{path}, line {number + 2}, {tags[column]}"
                raise Rejected(f"{where}: found {cell[:40]!r}; expected a number, or nothing") from error
    return Window(place, component_type, None, utc_now(), tuple(tags), values)


def _fields(answer: Answer) -> dict[str, object]:
    numbers = {name: getattr(answer, name) for name in ("predicted_rul", "rul_low", "rul_high")}
    return {
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "rul_state": answer.rul_state,
        "withheld_because": answer.withheld_because or None,
        "anomaly_score": answer.anomaly_score,
        "is_anomaly": answer.is_anomaly,
        "model_version": answer.model_version,
        "model_sha256": answer.model_sha256,
        "prediction_id": answer.prediction_id or None,
    }


def _told(answer: Answer) -> str:
    rul = (
        f"{answer.predicted_rul:.0f} cycles ({answer.rul_low:.0f} to {answer.rul_high:.0f})"
        if answer.rul_state == "ok"
        else f"{MEANING[answer.rul_state]} {answer.withheld_because}".strip()
    )
    score = f"{answer.anomaly_score:.2f}, threshold {answer.anomaly_threshold:.2f}"
    lines = [
        f"RUL            {rul}",
        f"anomaly score  {score}{': abnormal' if answer.is_anomaly else ''}",
        f"model          {answer.model_version}, sha256 {answer.model_sha256[:12]}…",
    ]
    lines += [f"on the record  {answer.prediction_id}"] if answer.prediction_id else []
    return "\n".join(lines)
