"""Inference at the centre, with the releases that people approved and the code that the edge runs.

Enters: a raw window over gRPC (PRD 5.1), the image repository. Leaves: the same answer that an agent
would give. Never: a model that is not published, a number that should have been withheld.
"""

from control_plane.serving.published import PublishedModels
from control_plane.serving.service import InferenceService, start_inference_server

__all__ = ["InferenceService", "PublishedModels", "start_inference_server"]
