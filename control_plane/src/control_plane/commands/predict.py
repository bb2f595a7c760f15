"""`control-plane predict`."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import Inference, InferenceCa, Json
from control_plane.serving.client import Answer
from control_plane.serving.server_dialled import ServerDialled, token_on_hand
from control_plane.serving.window_file import read_window_file
from shared.errors import Rejected
from shared.schemas import ComponentId, Window, utc_now

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
    inference: Inference = "127.0.0.1:50051",
    inference_ca: InferenceCa = None,
    identity: Annotated[
        Path | None, typer.Option(help="folder of an enrolled site's certificate, shown to that server")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the inference server about a window, oldest cycle first; an empty cell is a bad value.

    A bearer token is taken from PM_INFERENCE_TOKEN. The answer is on the audit record.

    Example: control-plane predict window.csv --component TX01/R1/coolant_pump

    Example: control-plane predict window.csv --component TX01/R1/coolant_pump
    --inference centre.example:50051 --inference-ca ca.crt

    Example: control-plane predict window.csv --component TX01/R1/pump_a --component-type coolant_pump --json
    """
    try:
        place = ComponentId.from_key(component)
    except ValueError as error:
        raise Rejected(f"--component: found {component!r}; expected site/reactor/component") from error
    with ServerDialled(inference, token_on_hand(), inference_ca, identity).client() as client:
        tags, values = read_window_file(window)
        kind = component_type or place.component
        answer = client.predict(Window(place, kind, None, utc_now(), tags, values))
    print(json.dumps(_fields(answer)) if as_json else _told(answer))


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
