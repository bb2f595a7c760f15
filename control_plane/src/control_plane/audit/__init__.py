"""Sites' logs and the centre's own: witnessed checkpoints, query, verify, prove, replay.

Enters: entries, checkpoints and windows that arrived; public keys. Leaves: co-signed checkpoints, logs as
files (C2SP tlog-tiles), findings, proofs, replays. Never: trust in the database it reads (everything is
recomputed from the leaves).
"""
