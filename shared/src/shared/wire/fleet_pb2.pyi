from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SiteMessage(_message.Message):
    __slots__ = ("hello", "acknowledgement", "heartbeat", "health")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    acknowledgement: Acknowledgement
    heartbeat: Heartbeat
    health: HealthReport
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., health: _Optional[_Union[HealthReport, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("site_id", "agent_version", "store_id", "audit_public_key", "models", "trials")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    agent_version: str
    store_id: str
    audit_public_key: str
    models: _containers.RepeatedCompositeFieldContainer[RunningModel]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    def __init__(self, site_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., store_id: _Optional[str] = ..., audit_public_key: _Optional[str] = ..., models: _Optional[_Iterable[_Union[RunningModel, _Mapping]]] = ..., trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ...) -> None: ...

class RunningModel(_message.Message):
    __slots__ = ("component_type", "name", "version", "sha256")
    COMPONENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    component_type: str
    name: str
    version: int
    sha256: str
    def __init__(self, component_type: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("rollout_id", "generation", "state", "detail", "models")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Acknowledgement.State]
        COMMITTED: _ClassVar[Acknowledgement.State]
        REFUSED: _ClassVar[Acknowledgement.State]
        TRYING: _ClassVar[Acknowledgement.State]
        ROLLED_BACK: _ClassVar[Acknowledgement.State]
        HELD: _ClassVar[Acknowledgement.State]
    STATE_UNSPECIFIED: Acknowledgement.State
    COMMITTED: Acknowledgement.State
    REFUSED: Acknowledgement.State
    TRYING: Acknowledgement.State
    ROLLED_BACK: Acknowledgement.State
    HELD: Acknowledgement.State
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    generation: int
    state: Acknowledgement.State
    detail: str
    models: _containers.RepeatedCompositeFieldContainer[RunningModel]
    def __init__(self, rollout_id: _Optional[str] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[Acknowledgement.State, str]] = ..., detail: _Optional[str] = ..., models: _Optional[_Iterable[_Union[RunningModel, _Mapping]]] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("component_type", "model", "rollout_id", "generation")
    COMPONENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    component_type: str
    model: RunningModel
    rollout_id: str
    generation: int
    def __init__(self, component_type: _Optional[str] = ..., model: _Optional[_Union[RunningModel, _Mapping]] = ..., rollout_id: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class HealthReport(_message.Message):
    __slots__ = ("rollout_id", "generation", "component_type", "state", "windows", "latency_p99_ms", "not_finite_fraction", "out_of_distribution_fraction", "shift")
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P99_MS_FIELD_NUMBER: _ClassVar[int]
    NOT_FINITE_FRACTION_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_DISTRIBUTION_FRACTION_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    generation: int
    component_type: str
    state: Acknowledgement.State
    windows: int
    latency_p99_ms: float
    not_finite_fraction: float
    out_of_distribution_fraction: float
    shift: float
    def __init__(self, rollout_id: _Optional[str] = ..., generation: _Optional[int] = ..., component_type: _Optional[str] = ..., state: _Optional[_Union[Acknowledgement.State, str]] = ..., windows: _Optional[int] = ..., latency_p99_ms: _Optional[float] = ..., not_finite_fraction: _Optional[float] = ..., out_of_distribution_fraction: _Optional[float] = ..., shift: _Optional[float] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[RunningModel]
    def __init__(self, models: _Optional[_Iterable[_Union[RunningModel, _Mapping]]] = ...) -> None: ...

class CentreMessage(_message.Message):
    __slots__ = ("command", "witnessed")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WITNESSED_FIELD_NUMBER: _ClassVar[int]
    command: Command
    witnessed: Witnessed
    def __init__(self, command: _Optional[_Union[Command, _Mapping]] = ..., witnessed: _Optional[_Union[Witnessed, _Mapping]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("rollout_id", "generation")
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    generation: int
    def __init__(self, rollout_id: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class Witnessed(_message.Message):
    __slots__ = ("size", "note")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    size: int
    note: str
    def __init__(self, size: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...
