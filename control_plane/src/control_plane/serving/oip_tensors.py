"""Tensors of the Open Inference Protocol v2: a request's raw windows in, a model's answer out. Pure.

One input `window`, FP32 `[n, cycles, tags]`, oldest cycle first, NaN where a value was bad; either typed
(`fp32_contents`) or raw (`raw_input_contents`), and the answer comes in the same form. The outputs are the
release's, interpreted: NaN where a RUL is no number. Words stand beside it (BYTES): `rul_state`,
`withheld_because` and the `prediction_id` on the audit record.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.features import FeatureSpec
from shared.schemas import Manifest
from shared.wire import open_inference_pb2 as oip

INPUT = "window"
WINDOWS_MAX = 64  # a call; more would hold up the other callers

Floats = NDArray[np.float32]
Fields = Mapping[str, Any]


class Column(NamedTuple):
    """One output: its datatype, its size a window, and what of a window's answer it is."""

    datatype: str
    width: int
    of: Callable[[Fields], Sequence[Any]]


_COLUMNS = {
    "rul": Column("FP32", 3, lambda found: [_or_nan(found[end]) for end in ("rul_low", "rul", "rul_high")]),
    "anomaly_score": Column("FP32", 1, lambda found: [found["anomaly_score"]]),
    "ood_score": Column("FP32", 1, lambda found: [found["ood_score"]]),
    "rul_state": Column("BYTES", 1, lambda found: [str(found["rul_state"])]),
    "withheld_because": Column("BYTES", 1, lambda found: [found["withheld_because"] or ""]),
    "prediction_id": Column("BYTES", 1, lambda found: [found["prediction_id"]]),
}
_WORDS = [name for name, column in _COLUMNS.items() if column.datatype == "BYTES"]


def columns(manifest: Manifest) -> dict[str, Column]:
    """The outputs of a release, in its order."""
    return {name: _COLUMNS[name] for name in (*manifest.outputs, *_WORDS)}


def metadata(manifest: Manifest) -> oip.ModelMetadataResponse:
    """What a release takes and answers."""
    spec, tensor = manifest.feature_spec, oip.ModelMetadataResponse.TensorMetadata
    return oip.ModelMetadataResponse(
        name=manifest.name,
        versions=[str(manifest.version)],
        platform="onnx_onnxruntime",
        inputs=[tensor(name=INPUT, datatype="FP32", shape=[-1, spec.window_cycles, len(spec.tags)])],
        outputs=[
            tensor(name=name, datatype=column.datatype, shape=[-1, column.width])
            for name, column in columns(manifest).items()
        ],
    )


def read_windows(request: oip.ModelInferRequest, spec: FeatureSpec) -> Floats:
    """Raw windows `(n, cycles, tags)`, NaN where a value was bad, not to be changed.

    ValueError names what does not fit.
    """
    names = [tensor.name for tensor in request.inputs]
    if names != [INPUT]:
        raise ValueError(f"inputs: found {', '.join(names) or 'none'}; expected one, {INPUT!r}")
    [tensor] = request.inputs
    if tensor.datatype != "FP32":
        raise ValueError(f"input {INPUT!r}: datatype {tensor.datatype or 'none'}; expected FP32")
    shape, expected = list(tensor.shape), [spec.window_cycles, len(spec.tags)]
    if shape[1:] != expected or not 1 <= shape[0] <= WINDOWS_MAX:
        raise ValueError(
            f"input {INPUT!r}: shape {shape}; expected [n, {expected[0]}, {expected[1]}], n from 1 to "
            f"{WINDOWS_MAX}: windows, cycles (oldest first), and the tags {', '.join(spec.tags)}"
        )
    values = _numbers(request, math.prod(shape)).reshape(shape)
    finite = np.isfinite(values)
    if finite.all():
        return values
    values = values.copy()
    values[~finite] = np.nan
    empty = np.flatnonzero(~finite.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"input {INPUT!r}: window {empty[0]} has not one finite number")
    return values


def _numbers(request: oip.ModelInferRequest, size: int) -> Floats:
    """The values of the one input, perhaps where the message has them."""
    [tensor], raw = request.inputs, request.raw_input_contents
    typed = len(tensor.contents.fp32_contents)
    if not raw:
        if typed != size:
            raise ValueError(
                f"input {INPUT!r}: {typed} numbers in fp32_contents; shape {list(tensor.shape)} has {size}"
            )
        return np.array(tensor.contents.fp32_contents, np.float32)
    if typed or len(raw) != 1:
        raise ValueError(
            f"raw_input_contents: found {len(raw)} beside {typed} numbers in fp32_contents of {INPUT!r}; "
            "expected one, and no typed contents"
        )
    if len(raw[0]) != 4 * size:
        raise ValueError(
            f"raw_input_contents of {INPUT!r}: {len(raw[0])} bytes; FP32 of shape {list(tensor.shape)} has "
            f"{4 * size}"
        )
    return np.frombuffer(raw[0], "<f4")


def requested(request: oip.ModelInferRequest, manifest: Manifest) -> dict[str, Column]:
    """The outputs to answer, all when none is named; ValueError names one that there is not."""
    known = columns(manifest)
    names = [tensor.name for tensor in request.outputs] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"outputs: found {unknown[0]!r}; {manifest.folder} has {', '.join(known)}")
    return {name: known[name] for name in names}


def answer(
    request: oip.ModelInferRequest,
    manifest: Manifest,
    chosen: Mapping[str, Column],
    found: Sequence[Fields],
) -> oip.ModelInferResponse:
    """The response for each window's fields and `prediction_id`, typed or raw as the request was."""
    response = oip.ModelInferResponse()
    response.CopyFrom(_frame(manifest.name, manifest.version, manifest.sha256, tuple(chosen), len(found)))
    response.id = request.id
    columns_of = [
        (column, [value for fields in found for value in column.of(fields)]) for column in chosen.values()
    ]
    if request.raw_input_contents:
        response.raw_output_contents.extend([_raw(*each) for each in columns_of])
        return response
    for tensor, (column, values) in zip(response.outputs, columns_of, strict=True):
        if column.datatype == "FP32":
            tensor.contents.fp32_contents.extend(values)
        else:
            tensor.contents.bytes_contents.extend(word.encode() for word in values)
    return response


@lru_cache(maxsize=256)  # of the models that are served, each with some ways to ask
def _frame(
    name: str, version: int, sha256: str, outputs: tuple[str, ...], windows: int
) -> oip.ModelInferResponse:
    """An answer without its numbers: the same for every call of its kind, and copied."""
    response = oip.ModelInferResponse(model_name=name, model_version=str(version))
    response.parameters["model_sha256"].string_param = sha256
    for each in outputs:
        column = _COLUMNS[each]
        response.outputs.add(name=each, datatype=column.datatype, shape=[windows, column.width])
    return response


def _raw(column: Column, values: Sequence[Any]) -> bytes:
    """FP32 little-endian; BYTES with their length in 4 bytes before each."""
    if column.datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    words = [word.encode() for word in values]
    return b"".join(len(word).to_bytes(4, "little") + word for word in words)


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
