"""Inference at the centre, with the releases that people approved and the code that the edge runs.

Enters: a raw window over gRPC (PRD 5.1), the image repository. Leaves: the same answer that an agent
would give, and its entry on the record. Never: a model that is not published, a number that should have been
withheld, an answer that waits for the record.
"""
