"""Rows given to librdkafka and not reported yet; rows that Kafka has and the outbox has not noted."""

from edge_agent.forward.settings import IN_FLIGHT_BYTES_MAX, IN_FLIGHT_ROWS_MAX

URGENT_SHARE = 10  # a tenth of the room is kept for what overtakes


class InFlight:
    """Sizes in bytes by row number, bounded in rows and bytes."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def __contains__(self, seq: int) -> bool:
        return seq in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, seq: int, size: int) -> None:
        """Given to librdkafka."""
        self._sizes[seq] = size
        self._bytes += size

    def remove(self, seq: int) -> None:
        """Reported, or noted by the outbox."""
        self._bytes -= self._sizes.pop(seq, 0)

    def oldest(self) -> int:
        """The lowest row number on its way; there must be one."""
        return min(self._sizes)

    def room(self, *, urgent: bool) -> int:
        """How many rows more may go; 0 when the bytes are used up."""
        kept = 0 if urgent else 1 / URGENT_SHARE
        if self._bytes >= IN_FLIGHT_BYTES_MAX * (1 - kept):
            return 0
        return max(0, int(IN_FLIGHT_ROWS_MAX * (1 - kept)) - len(self._sizes))
