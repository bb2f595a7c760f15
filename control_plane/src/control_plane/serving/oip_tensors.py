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
_FLOATS = {width: struct.Struct(f"<{width}f") for width in {column.width for column in _COLUMNS.values()}}
_LENGTH = struct.Struct("<I")  # before each word


def columns(manifest: Manifest) -> dict[str, Column]:
    """The outputs of a release, in its order; not to be changed."""
    return _columns(*manifest.outputs)


@lru_cache
def _columns(*outputs: str) -> dict[str, Column]:
    return {name: _COLUMNS[name] for name in (*outputs, *_WORDS)}


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
    tensors = list(request.inputs)
    if len(tensors) != 1 or tensors[0].name != INPUT:
        names = ", ".join(tensor.name for tensor in tensors)
        raise ValueError(f"inputs: found {names or 'none'}; expected one, {INPUT!r}")
    [tensor] = tensors
    if tensor.datatype != "FP32":
        raise ValueError(f"input {INPUT!r}: datatype {tensor.datatype or 'none'}; expected FP32")
    shape, expected = list(tensor.shape), [spec.window_cycles, len(spec.tags)]
    if shape[1:] != expected or not 1 <= shape[0] <= WINDOWS_MAX:
        raise ValueError(
            f"input {INPUT!r}: shape {shape}; expected [n, {expected[0]}, {expected[1]}], n from 1 to "
            f"{WINDOWS_MAX}: windows, cycles (oldest first), and the tags {', '.join(spec.tags)}"
        )
    values = _numbers(tensor, request.raw_input_contents, shape)
    finite = np.isfinite(values)
    if finite.all():
        return values
    values = values.copy()
    values[~finite] = np.nan
    empty = np.flatnonzero(~finite.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"input {INPUT!r}: window {empty[0]} has not one finite number")
    return values


def _numbers(
    tensor: oip.ModelInferRequest.InferInputTensor, raw: Sequence[bytes], shape: Sequence[int]
) -> Floats:
    """The values of the one input, perhaps where the message has them."""
    typed, size = tensor.contents.fp32_contents, math.prod(shape)
    if not raw:
        if len(typed) != size:
            raise ValueError(
                f"input {INPUT!r}: {len(typed)} numbers in fp32_contents; shape {shape} has {size}"
            )
        return np.array(typed, np.float32).reshape(shape)
    if typed or len(raw) != 1:
        raise ValueError(
            f"raw_input_contents: found {len(raw)} beside {len(typed)} numbers in fp32_contents of "
            f"{INPUT!r}; expected one, and no typed contents"
        )
    [sent] = raw
    if len(sent) != 4 * size:
        raise ValueError(
            f"raw_input_contents of {INPUT!r}: {len(sent)} bytes; FP32 of shape {shape} has {4 * size}"
        )
    return np.ndarray(shape, "<f4", sent)


def requested(request: oip.ModelInferRequest, manifest: Manifest) -> dict[str, Column]:
    """The outputs to answer, all when none is named; ValueError names one that there is not."""
    known = columns(manifest)
    names = [tensor.name for tensor in request.outputs]
    if not names:
        return known
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
    if request.raw_input_contents:
        response.raw_output_contents.extend(
            [b"".join([_raw(column, fields) for fields in found]) for column in chosen.values()]
        )
        return response
    for tensor, column in zip(response.outputs, chosen.values(), strict=True):
        values = [value for fields in found for value in column.of(fields)]
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


def _raw(column: Column, fields: Fields) -> bytes:
    """A window's: FP32 little-endian; BYTES with their length in 4 bytes before."""
    values = column.of(fields)
    if column.datatype == "FP32":
        return _FLOATS[column.width].pack(*values)
    word: bytes = values[0].encode()
    return _LENGTH.pack(len(word)) + word


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
