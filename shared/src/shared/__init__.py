"""What both planes agree on: schemas, the fleet's configuration, features, log hashing, the wire.

Enters: nothing; this package has no I/O of its own beyond reading a configuration file.
Leaves: types and pure functions. It never imports `edge_agent` or `control_plane`.
"""

import os

__version__ = "0.1.0"

# onnxruntime 1.32 gives the machine an id and reports to its maker from the moment it is imported. Neither
# a site nor the centre speaks to anybody whom its people did not name.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
