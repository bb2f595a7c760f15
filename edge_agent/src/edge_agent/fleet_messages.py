"""What the site says to the fleet service, from what the updater and the scorers know. Pure."""

from collections.abc import Iterable, Mapping
from math import isfinite

from edge_agent.update import Answer, Comparison, Release, State
from shared.schemas import ModelRef
from shared.wire import fleet_pb2

_Wire = fleet_pb2.Acknowledgement
_STATES = {
    State.TRYING: _Wire.TRYING,
    State.COMMITTED: _Wire.COMMITTED,
    State.REFUSED: _Wire.REFUSED,
    State.ROLLED_BACK: _Wire.ROLLED_BACK,
    State.HELD: _Wire.HELD,
}


def running_models(models: Mapping[str, ModelRef]) -> list[fleet_pb2.RunningModel]:
    """What is scored with, by component type."""
    return [
        fleet_pb2.RunningModel(component_type=kind, name=ref.name, version=ref.version, sha256=ref.sha256)
        for kind, ref in models.items()
    ]


def trials(releases: Iterable[Release]) -> list[fleet_pb2.Trial]:
    """What runs beside."""
    return [
        fleet_pb2.Trial(
            component_type=release.manifest.component_type,
            model=fleet_pb2.RunningModel(
                component_type=release.manifest.component_type,
                name=release.manifest.name,
                version=release.manifest.version,
                sha256=release.sha256,
            ),
            rollout_id=release.assignment.rollout_id,
            generation=release.assignment.generation,
        )
        for release in releases
    ]


def acknowledgement(answer: Answer, models: Mapping[str, ModelRef]) -> fleet_pb2.SiteMessage:
    """Where a release stands at this site."""
    return fleet_pb2.SiteMessage(
        acknowledgement=_Wire(
            rollout_id=answer.rollout_id,
            generation=answer.generation,
            state=_STATES[answer.state],
            detail=answer.detail,
            models=running_models(models),
        )
    )


def refusal(command: fleet_pb2.Command, reason: str, models: Mapping[str, ModelRef]) -> fleet_pb2.SiteMessage:
    """Nothing that could be believed is about this command."""
    return fleet_pb2.SiteMessage(
        acknowledgement=_Wire(
            rollout_id=command.rollout_id,
            generation=command.generation,
            state=_Wire.REFUSED,
            detail=reason,
            models=running_models(models),
        )
    )


def health_report(release: Release, state: State, found: Comparison) -> fleet_pb2.SiteMessage:
    """How a release does beside the one before it; a latency of 0 where nothing was answered yet."""
    return fleet_pb2.SiteMessage(
        health=fleet_pb2.HealthReport(
            rollout_id=release.assignment.rollout_id,
            generation=release.assignment.generation,
            component_type=release.manifest.component_type,
            state=_STATES[state],
            windows=found.windows,
            latency_p99_ms=found.latency_p99_ms if isfinite(found.latency_p99_ms) else 0.0,
            not_finite_fraction=found.not_finite_fraction,
            out_of_distribution_fraction=found.out_of_distribution_fraction,
            shift=found.shift,
        )
    )
