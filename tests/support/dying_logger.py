"""A server that logs predictions until it is killed: `dying_logger.py DATA_DIR`, with `beside` one beside it.

Each prediction's id goes to stdout once `log_prediction` has returned: from then on it must not be lost.
"""

import os
import sys
from itertools import count
from pathlib import Path

from control_plane.audit import prediction_logger
from control_plane.layout import Layout

GROUP_S = 0.01  # groups so small that a death falls into a commit as often as between two
CUT_EVERY = 5


def main() -> None:
    """Log as fast as it goes."""
    prediction_logger.COMMIT_PERIOD_S = GROUP_S
    layout, beside = Layout(Path(sys.argv[1])), sys.argv[2:] == ["beside"]
    with layout.prediction_spool() if beside else layout.audit_logger() as logger:
        for number in count():
            window = [float(number), float("nan"), 0.5]
            found = logger.log_prediction(
                "TX01", "R1", "pump", "7", window, number / 8, "2026-01-01T00:00:00+00:00"
            )
            os.write(1, found.encode() + b"\n")
            if beside and number % CUT_EVERY == 0:
                logger.cut()


if __name__ == "__main__":
    main()
