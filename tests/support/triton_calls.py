"""Calls an Open Inference Protocol server with Triton's own client; prints what it said as JSON.

A program of its own, because tritonclient registers the same protobuf symbols as `shared.wire` does.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def refused(call) -> str:
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "taken"


def tensor(values: np.ndarray, datatype: str = "FP32") -> triton.InferInput:
    made = triton.InferInput("window", list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def main(address: str, cycles: int, tags: int) -> None:
    values = np.linspace(1, 9, 2 * cycles * tags, dtype=np.float32).reshape(2, cycles, tags)
    with triton.InferenceServerClient(address) as client:
        found = client.infer("coolant_pump", [tensor(values)], request_id="7", parameters={"site_id": "TX02"})
        chosen = client.infer("coolant_pump", [tensor(values)], outputs=[triton.InferRequestedOutput("rul")])
        said = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready("coolant_pump", "1"),
            "other_ready": client.is_model_ready("coolant_pump", "2"),
            "server": client.get_server_metadata(as_json=True)["name"],
            "metadata": client.get_model_metadata("coolant_pump", as_json=True),
            "rul": found.as_numpy("rul").tolist(),
            "state": [word.decode() for word in found.as_numpy("rul_state").ravel()],
            "prediction_ids": [word.decode() for word in found.as_numpy("prediction_id").ravel()],
            "id": found.get_response().id,
            "chosen": [output.name for output in chosen.get_response().outputs],
            "unknown": refused(lambda: client.infer("fan", [tensor(values)])),
            "shape": refused(lambda: client.infer("coolant_pump", [tensor(values[0])])),
            "datatype": refused(
                lambda: client.infer("coolant_pump", [tensor(values.astype(np.float64), "FP64")])
            ),
            "site": refused(
                lambda: client.infer("coolant_pump", [tensor(values)], parameters={"site_id": "a/b"})
            ),
        }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
