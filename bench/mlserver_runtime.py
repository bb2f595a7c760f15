"""What MLServer runs, in its own environment: features in plain numpy, then the same graph."""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class Lstm(MLModel):  # type: ignore[misc]
    """One window `(n, cycles, tags)` without a bad value: value, change, present."""

    async def load(self) -> bool:
        """The session has one thread, as ours has."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = await get_model_uri(self._settings)
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Every output of the graph."""
        values = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        change = np.diff(values, axis=1, prepend=values[:, :1])
        features = np.concatenate([values, change, np.ones_like(values)], axis=-1)
        found = self._session.run(self._names, {"features": features})
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(self._names, found, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
