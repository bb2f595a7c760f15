"""What both planes agree on: schemas, the fleet's configuration, features, log hashing, the wire.

Enters: nothing; this package has no I/O of its own beyond reading a configuration file.
Leaves: types and pure functions. It never imports `edge_agent` or `control_plane`.
"""

__version__ = "0.1.0"
