"""Sites' logs and the centre's own: witnessed checkpoints, query, verify, replay.

Enters: entries, checkpoints and windows that arrived; public keys. Leaves: co-signed checkpoints,
findings, replays. Never: trust in the database it reads (everything is recomputed from the leaves).
"""
