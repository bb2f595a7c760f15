"""The fleet service: sites dial in, the centre tells them to look. Thin: parse, call, map errors.

Enters: gRPC streams. Leaves: commands, co-signed checkpoints; what each site says of itself.
Never: a decision what a site runs (the signed director repository says that).
"""
