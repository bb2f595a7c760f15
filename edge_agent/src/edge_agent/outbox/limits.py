"""How much the outbox may hold, and what gives way when it is full."""

from dataclasses import dataclass
from enum import StrEnum

PENDING_ROWS_MAX = 1_000_000  # rows not yet acknowledged: about 12 days of 1 Hz for one component
PENDING_BYTES_MAX = 1 << 30  # of the same: 1 GiB, what a small industrial PC can spare on its flash
ACKED_ROWS_KEPT = 200_000  # acknowledged rows kept for a resend or an inspection, then pruned
ACKED_BYTES_KEPT = 128 << 20  # of the same
AUDIT_LEAVES_KEPT = 100_000  # newest leaves of the site's log; older ones are kept as one hash per subtree
ROW_OVERHEAD_BYTES = 64  # row number, schema, checksum and index entry beside key and body


class WhenFull(StrEnum):
    """What gives way at the bound: the oldest telemetry and predictions, or those that come now.

    `drop_oldest` is the default: the newest readings say how the plant is now, and the oldest have been
    scored and alerted on already. `drop_newest` keeps the beginning of an event unbroken.
    """

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@dataclass(frozen=True)
class OutboxLimits:
    """Bounds in rows and in bytes (key, body and `ROW_OVERHEAD_BYTES` a row)."""

    pending_rows_max: int = PENDING_ROWS_MAX
    pending_bytes_max: int = PENDING_BYTES_MAX
    acked_rows_kept: int = ACKED_ROWS_KEPT
    acked_bytes_kept: int = ACKED_BYTES_KEPT
    audit_leaves_kept: int = AUDIT_LEAVES_KEPT
    when_full: WhenFull = WhenFull.DROP_OLDEST
