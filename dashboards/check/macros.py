"""Grafana's macros and variables, put in place as it does it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

Values = Mapping[str, Sequence[str]]
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Range(NamedTuple):
    """What is looked at, both ends included."""

    start: datetime
    end: datetime

    def narrowed(self, time_from: str | None) -> "Range":
        """To a panel's own relative time, such as 5m."""
        if not time_from:
            return self
        return Range(self.end - timedelta(seconds=seconds(time_from)), self.end)


def seconds(text: str) -> int:
    """Of a Grafana duration with one unit."""
    return int(text[:-1]) * SECONDS[text[-1]]


def influxql(query: str, variables: Values, span: Range, interval_s: int) -> str:
    """`$timeFilter`, `$__interval` and `${name:regex}`; ValueError when a `$` of Grafana's is left.

    The same as Grafana's InfluxDB data source in version 11: times in milliseconds, several values as an
    alternation, what is special in a value escaped.
    """
    start_ms, end_ms = (round(each.timestamp() * 1000) for each in span)
    found = query.replace("$timeFilter", f"time >= {start_ms}ms and time <= {end_ms}ms")
    found = _with_values(found.replace("$__interval", f"{interval_s}s"), variables)
    left = re.search(r"\$[_A-Za-z{]\w*", found)
    if left:
        raise ValueError(f"{left.group()} is nothing that Grafana knows here: {found}")
    return found


def promql(query: str, variables: Values, range_s: int, rate_interval_s: int) -> str:
    """`$__range`, `$__rate_interval` and `$name`, whose backslashes Grafana doubles for PromQL's strings."""
    found = query.replace("$__range", f"{range_s}s").replace("$__rate_interval", f"{rate_interval_s}s")
    for name, values in variables.items():
        found = found.replace(f"${name}", as_regex(values).replace("\\", "\\\\"))
    left = re.search(r"\$[_A-Za-z{]\w*", found)
    if left:
        raise ValueError(f"{left.group()} is nothing that Grafana knows here: {found}")
    return found


def _with_values(query: str, variables: Values) -> str:
    return re.sub(r"\$\{(\w+):regex\}", lambda m: as_regex(variables[m.group(1)]), query)


def as_regex(values: Sequence[str]) -> str:
    """One value escaped, several as `(a|b)`."""
    escaped = [re.sub(r"([\\^$*+?.()|\[\]{}/])", r"\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
