"""What the long history answers. Times are milliseconds since 1970 UTC; a `Buckets`' lists run in step."""

from shared.schemas import Frozen

Numbers = list[float | None]


class BucketSeries(Frozen):
    """One series in the unit named: each bucket's lowest, highest and mean value; None where it has none."""

    name: str
    description: str
    unit: str
    lower_limit: float | None = None
    upper_limit: float | None = None
    low: Numbers
    high: Numbers
    mean: Numbers


class Buckets(Frozen):
    """Buckets in order of time, each at its first row. One with 0 rows is a gap: nothing arrived there."""

    time_ms: list[int]
    rows: list[int]
    series: list[BucketSeries]


class LongHistory(Frozen):
    """A component from `start_ms` to before `end_ms`; `raw`: every row is a point, none is summed up.

    `predictions` has the series `rul`, `rul_low`, `rul_high` (cycles), `anomaly_score` and
    `anomaly_threshold`, of the active model alone.
    """

    start_ms: int
    end_ms: int
    bucket_ms: int
    raw: bool
    telemetry: Buckets
    predictions: Buckets
