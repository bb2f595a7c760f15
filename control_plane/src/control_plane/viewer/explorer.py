"""Asks the inference server about variations, as exploration; what goes wrong is said with its remedy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from control_plane.serving.client import UNTRUSTED, Answer, Refused, RULInferenceClient, Unanswered
from control_plane.serving.published_specs import NoRelease
from control_plane.viewer.variation import Variation
from shared.errors import PmStackError, Retryable
from shared.schemas import Manifest


class Trouble(NamedTuple):
    """What is wrong, and what to do about it."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True, eq=False)  # Gradio takes the hash of what it keeps
class Result:
    """What became of a variation: one of `answer` and `trouble`."""

    variation: Variation
    answer: Answer | None = None
    trouble: Trouble | None = None


class Explorer:
    """Any thread may ask. The client's purpose is exploration; it is closed with this."""

    def __init__(self, client: RULInferenceClient) -> None:
        self._client = client

    def ask(self, variations: Sequence[Variation], manifest: Manifest) -> list[Result]:
        """An answer or a trouble for each, with the reasons of the number."""
        windows = (variation.window for variation in variations)
        answers = self._client.predict_many(windows, explain=True)
        return [_result(v, found, manifest) for v, found in zip(variations, answers, strict=True)]

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _result(variation: Variation, found: Answer | PmStackError, manifest: Manifest) -> Result:
    if isinstance(found, PmStackError):
        return Result(variation, trouble=trouble_of(found))
    if found.feature_spec_sha256 != manifest.feature_spec_hash:
        return Result(variation, trouble=Trouble(
            f"The server answered with {found.model_version}, which takes other features than "
            f"{manifest.folder}, for which this window was made.",
            "Load the cycles again; if that does not help, the server serves by an MLflow alias, not the "
            "newest release.",
        ))  # fmt: skip
    return Result(variation, answer=found)


def trouble_of(error: PmStackError) -> Trouble:
    """What a failed call means for the person at the page."""
    if isinstance(error, Refused):
        return Trouble(f"The inference server refused the call: {error}", _REMEDIES.get(error.code, _ANY))
    if isinstance(error, Unanswered):
        remedy = _TRUST if UNTRUSTED in str(error) else _REMEDIES.get(error.code, _AWAY)
        return Trouble(f"No answer: {error}", remedy)
    return Trouble(str(error), _ANY)


def load_trouble(error: PmStackError) -> Trouble:
    """What a failed load means for the person at the page."""
    what = str(error)
    if isinstance(error, Retryable):
        return Trouble(what, "Start ingest (control-plane serve --part ingest), or load a CSV file.")
    if isinstance(error, NoRelease):
        return Trouble(what, _REMEDIES[grpc.StatusCode.NOT_FOUND])
    return Trouble(what, "Correct that, and load again.")


_ANY = "The inference server's log says more."
_AWAY = (
    "Start the inference server (control-plane serve --part inference) or give its address to "
    "control-plane viewer --inference. Then predict again; nothing that you changed is lost."
)
_TRUST = (
    "Start the viewer with --inference-ca FILE, the certificate of the server's own authority, and with "
    "the name in --inference that its certificate bears."
)
_SHOW_ONE = (
    "Make a token with control-plane token add NAME --file FILE, where FILE is the server's "
    "--inference-tokens, and start the viewer with it in PM_INFERENCE_TOKEN."
)
_REMEDIES = {
    grpc.StatusCode.NOT_FOUND: "Publish a release of this component type: control-plane release propose, "
    "approve, publish (docs/release.md). The server takes it up within 2 s.",
    grpc.StatusCode.UNAUTHENTICATED: _SHOW_ONE,
    grpc.StatusCode.PERMISSION_DENIED: _SHOW_ONE,
    grpc.StatusCode.INVALID_ARGUMENT: "Load cycles that fit, or take a change back.",
    grpc.StatusCode.INTERNAL: "The model gave no finite number: bring the values nearer to what is usual.",
}
