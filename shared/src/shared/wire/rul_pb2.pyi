from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SensorWindow(_message.Message):
    __slots__ = ("site_id", "reactor_id", "component", "features", "timestamp", "component_type")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    REACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    reactor_id: str
    component: str
    features: _containers.RepeatedScalarFieldContainer[float]
    timestamp: str
    component_type: str
    def __init__(self, site_id: _Optional[str] = ..., reactor_id: _Optional[str] = ..., component: _Optional[str] = ..., features: _Optional[_Iterable[float]] = ..., timestamp: _Optional[str] = ..., component_type: _Optional[str] = ...) -> None: ...

class PredictRULRequest(_message.Message):
    __slots__ = ("window", "explain")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    window: SensorWindow
    explain: bool
    def __init__(self, window: _Optional[_Union[SensorWindow, _Mapping]] = ..., explain: _Optional[bool] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("tag", "of", "effect", "value", "normal", "unit")
    TAG_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    NORMAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    tag: str
    of: str
    effect: float
    value: float
    normal: float
    unit: str
    def __init__(self, tag: _Optional[str] = ..., of: _Optional[str] = ..., effect: _Optional[float] = ..., value: _Optional[float] = ..., normal: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...

class PredictRULResponse(_message.Message):
    __slots__ = ("predicted_rul", "model_version", "timestamp", "rul_low", "rul_high", "rul_state", "anomaly_score", "is_anomaly", "model_sha256", "withheld_because", "contributions", "prediction_id", "ood_score", "anomaly_threshold", "ood_threshold", "inference_time_ms", "runtime", "feature_spec_sha256")
    PREDICTED_RUL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    RUL_LOW_FIELD_NUMBER: _ClassVar[int]
    RUL_HIGH_FIELD_NUMBER: _ClassVar[int]
    RUL_STATE_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_SCORE_FIELD_NUMBER: _ClassVar[int]
    IS_ANOMALY_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    OOD_SCORE_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    OOD_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SPEC_SHA256_FIELD_NUMBER: _ClassVar[int]
    predicted_rul: float
    model_version: str
    timestamp: str
    rul_low: float
    rul_high: float
    rul_state: str
    anomaly_score: float
    is_anomaly: bool
    model_sha256: str
    withheld_because: str
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    prediction_id: str
    ood_score: float
    anomaly_threshold: float
    ood_threshold: float
    inference_time_ms: float
    runtime: str
    feature_spec_sha256: str
    def __init__(self, predicted_rul: _Optional[float] = ..., model_version: _Optional[str] = ..., timestamp: _Optional[str] = ..., rul_low: _Optional[float] = ..., rul_high: _Optional[float] = ..., rul_state: _Optional[str] = ..., anomaly_score: _Optional[float] = ..., is_anomaly: _Optional[bool] = ..., model_sha256: _Optional[str] = ..., withheld_because: _Optional[str] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., prediction_id: _Optional[str] = ..., ood_score: _Optional[float] = ..., anomaly_threshold: _Optional[float] = ..., ood_threshold: _Optional[float] = ..., inference_time_ms: _Optional[float] = ..., runtime: _Optional[str] = ..., feature_spec_sha256: _Optional[str] = ...) -> None: ...
