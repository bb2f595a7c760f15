"""A release's graph, run the one way that the edge, the centre's inference and a replay all run it."""

import platform
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from shared.errors import Rejected, Untrusted
from shared.features import window_features
from shared.operation import rows_in_operation
from shared.schemas import Manifest

# Windows in every run, the last one filled up, because a row's bits hang on how many rows are run with it.
# In blocks of 16 an LSTM-64 is as fast as in one of 64, in blocks of 8 a tenth slower; a window alone costs
# 0.4 ms in a block of 16, 0.2 ms in one of 8. The centre's inference runs one that comes alone in a block
# of 1 (0.06 ms), a few in blocks of 4 (0.13 ms), and says so on the record.
BLOCK_WINDOWS = 16
FEW_WINDOWS = 4
INPUT = "features"
WIDTHS = {"rul": 3}  # numbers that answer one window; of any other output one
# Where weights outside the signed bytes are looked for. Without this onnxruntime takes the working directory,
# even for a model in memory; nothing lies in what is no folder, so that such a model is refused.
NO_FOLDER = "/dev/null"
_RECORDED = {str(block): block for block in (1, FEW_WINDOWS, BLOCK_WINDOWS)}
_HOW = f"onnxruntime {ort.__version__}; CPUExecutionProvider; {platform.machine()}; blocks of "
RUNTIME = f"{_HOW}{BLOCK_WINDOWS}"

Floats = NDArray[np.float32]


def runtime(block: int) -> str:
    """What a record says of how it was computed: the same text, the same bits."""
    return f"{_HOW}{block}"


def recorded_block(text: str) -> int:
    """The block of a recorded runtime; this program's own where it says none, or one that is not run."""
    _, _, block = text.rpartition("blocks of ")
    return _RECORDED.get(block, BLOCK_WINDOWS)


class OnnxModel:
    """One ONNX session with its manifest."""

    def __init__(self, manifest: Manifest, model: bytes) -> None:
        """Untrusted when it was made for other features, or is no such model as the manifest says."""
        _check_spec(manifest)
        self.manifest = manifest
        self._session = _session(model, manifest)

    def run(self, values: Floats, block: int = BLOCK_WINDOWS) -> dict[str, Floats]:
        """Every output for raw windows `(N, W, T)`, NaN where a value was bad; first axes are N.

        What was read while the component stood still counts as not read (`Manifest.operating`).

        A window has the same bits alone, as a replay runs it, and among others, as a poll does: kernels
        choose their loops by the number of rows, so that number is always `block`.
        Rejected when there is none, when they are not of the release's cycles and tags, when the graph
        cannot be run on them, or answers in another shape.
        """
        features = self._features(values)
        try:
            blocks = [
                self._session.run(self.manifest.outputs, {INPUT: rows}) for rows in _blocks(features, block)
            ]
        except Exception as error:  # onnxruntime raises classes of its own, one a cause
            raise Rejected(f"{self.manifest.folder} cannot be run: {str(error)[:200]}") from error
        outputs = (
            (parts[0] if len(parts) == 1 else np.concatenate(parts))[: len(values)]
            for parts in zip(*blocks, strict=True)
        )
        answers = dict(zip(self.manifest.outputs, outputs, strict=True))
        for name, rows in answers.items():
            if rows.size != len(values) * (width := WIDTHS.get(name, 1)):
                raise Rejected(
                    f"{self.manifest.folder}: {name} has shape {rows.shape}; expected (n, {width})"
                )
        return answers

    def _features(self, values: Floats) -> Floats:
        if not len(values):
            raise Rejected(f"{self.manifest.folder}: no window to score; give at least one")
        spec = self.manifest.feature_spec
        try:
            return window_features(rows_in_operation(values, self.manifest.operating, spec), spec)
        except ValueError as error:
            raise Rejected(f"{self.manifest.folder}: {error}") from error


def _blocks(features: Floats, size: int) -> Iterator[Floats]:
    """Blocks of `size`; the last window is repeated until the last block is full."""
    short = -len(features) % size
    whole = np.concatenate([features, np.repeat(features[-1:], short, axis=0)]) if short else features
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


def _check_spec(manifest: Manifest) -> None:
    ours, theirs = manifest.feature_spec.hash(), manifest.feature_spec_hash
    if ours != theirs:
        raise Untrusted(
            "feature spec", f"{manifest.folder}: made for {theirs[:12]}…, this program has {ours[:12]}…"
        )


def _session(model: bytes, manifest: Manifest) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a site's cores are for its polls
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NO_FOLDER)
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one a cause
        raise Untrusted("model format", f"{manifest.folder}: {str(error)[:200]}") from error
    _check_interface(session, manifest)
    return session


def _check_interface(session: ort.InferenceSession, manifest: Manifest) -> None:
    names = {output.name for output in session.get_outputs()}
    if [i.name for i in session.get_inputs()] != [INPUT] or not set(manifest.outputs) <= names:
        raise Untrusted(
            "model interface", f"{manifest.folder}: outputs {sorted(names)}, not {manifest.outputs}"
        )
    taken, made = session.get_inputs()[0].shape[1:], manifest.feature_spec.shape
    fits = len(taken) == len(made) and all(
        not isinstance(size, int) or size == there for size, there in zip(taken, made, strict=True)
    )
    if not fits:
        raise Untrusted(
            "model interface",
            f"{manifest.folder}: takes {taken} rows x features a window, its feature spec makes {list(made)}",
        )
