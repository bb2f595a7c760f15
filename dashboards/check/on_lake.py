"""A query in our InfluxQL, answered by DuckDB from the lake: what InfluxDB's numbers are held against.

Our queries are few in kind; one that is of another kind is refused with ValueError, not guessed at.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from shared import wording
from shared.schemas import Contribution

Key = tuple[tuple[str, ...], int | None]
Answer = dict[Key, tuple[Any, ...]]  # by tags and nanoseconds (None: one value for the whole range)
TAGS = ("site_id", "reactor_id", "component")
NS = "epoch_us(timestamp) * 1000 + seq % 1000"  # as sinks/influx_points.py keeps rows of a microsecond apart


class Parsed(NamedTuple):
    """The parts of a SELECT."""

    columns: list[str]
    source: str
    where: str
    interval_s: int | None
    by: list[str]
    rows_max: int | None


class Lake:
    """The lake's tables, with InfluxDB's measurements and fields as names."""

    def __init__(self, folder: Path, faults: list[dict[str, Any]]) -> None:
        self._db = duckdb.connect()
        telemetry = _arrow(folder / "telemetry")
        predictions = _arrow(folder / "predictions")
        self._db.register("lake_telemetry", telemetry)
        self._db.register("lake_predictions", _with_reasons(predictions))
        self._db.register("lake_alerts", _arrow(folder / "alerts"))
        self._db.register("lake_faults", pa.Table.from_pylist(faults))
        found = self._db.execute("SELECT DISTINCT unnest(map_keys(metrics)) FROM lake_telemetry").fetchall()
        tags = ", ".join(f"metrics['{tag}'] AS \"{tag}\"" for (tag,) in found)
        place = f"{', '.join(TAGS)}, {NS} AS ns"
        self._make("telemetry", f"SELECT {place}, 'sensor' AS metric_type, {tags} FROM lake_telemetry")
        reasons = "list_sort([e.key || ': ' || e.value FOR e IN map_entries(quality)])"
        self._make(
            "quality",
            f"SELECT {place}, cardinality(quality) AS bad_values, "
            f"array_to_string({reasons}, ', ') AS reasons FROM lake_telemetry WHERE cardinality(quality) > 0",
        )
        self._make(
            "prediction",
            f"SELECT {place}, mode, rul, rul_low, rul_high, rul_state, withheld_because, anomaly_score, "
            "anomaly_threshold, is_anomaly, told AS contributions, model_version AS version, "
            "model_name || '/' || model_version AS model_version FROM lake_predictions",
        )
        self._make("alert", f"SELECT {place}, message, state, severity, kind FROM lake_alerts")
        self._make("fault", f"SELECT {place}, fault, cycle FROM lake_faults")

    def answer(self, query: str) -> Answer:
        """What InfluxDB has to say to it; ValueError where the lake has no such field."""
        parsed = parse(query)
        try:
            rows = self._db.execute(self._sql(parsed)).fetchall()
        except duckdb.Error as error:
            raise ValueError(f"the lake: {str(error).splitlines()[0]}") from error
        found: Answer = {}
        for ns, *rest in rows:
            tags, values = tuple(rest[: len(parsed.by)]), tuple(rest[len(parsed.by) :])
            if any(value is not None for value in values):
                found[tags if is_aggregate(parsed) else as_key(values), ns] = values
        return cut(found, parsed)

    def _make(self, name: str, sql: str) -> None:
        self._db.execute(f"CREATE TABLE {name} AS {sql}")

    def _sql(self, parsed: Parsed, moment: str = "NULL") -> str:
        """`moment` stands for the time of a value of the whole range."""
        source = parsed.source
        if source.startswith("("):
            source = f"({self._sql(parse(source[1:-1]), 'max(ns)')}) AS inner_answer"
        where = f" WHERE {_condition(parsed.where)}" if parsed.where else ""
        chosen = [_expression(column, parsed.by) for column in parsed.columns]
        if not is_aggregate(parsed):
            limit = f" ORDER BY ns DESC LIMIT {parsed.rows_max}" if parsed.rows_max else ""
            tags = [f'"{tag}"' for tag in parsed.by]
            return f"SELECT ns, {', '.join([*tags, *chosen])} FROM {source}{where}{limit}"
        step = parsed.interval_s * 10**9 if parsed.interval_s else None
        time = f"ns // {step} * {step}" if step else moment
        # A field beside a selector is that of the row which it selects.
        chosen = [re.sub(r'^("\w+")', r"arg_max_null(\1, ns)", column) for column in chosen]
        groups = [f'"{tag}"' for tag in parsed.by]
        grouped = ", ".join(([time] if step else []) + groups)
        tail = f" GROUP BY {grouped}" if grouped else ""
        return f"SELECT {', '.join([f'{time} AS ns', *groups, *chosen])} FROM {source}{where}{tail}"


def is_aggregate(parsed: Parsed) -> bool:
    """Whether it gives a value per group rather than rows as they are."""
    return bool(re.search(r"\b(mean|last|count|sum|min|max)\(", " ".join(parsed.columns)))


def as_key(values: Sequence[Any]) -> tuple[str, ...]:
    """By which a row is found again that no tag names: its own values, 4 and 4.0 the same."""
    return tuple(str(float(v)) if isinstance(v, (int, float)) else str(v) for v in values)


def cut(answer: Answer, parsed: Parsed) -> Answer:
    """Without the rows at the moment of the last one of a full list: which of them it holds is chance."""
    if parsed.rows_max is None or len(answer) < parsed.rows_max:
        return answer
    oldest = min(ns or 0 for _, ns in answer)
    return {key: values for key, values in answer.items() if key[1] != oldest}


def parse(query: str) -> Parsed:
    """The parts of a SELECT of ours; ValueError for any other."""
    match = re.match(r"SELECT (.+?) FROM (.+)$", query)
    if match is None:
        raise ValueError(f"no SELECT of ours: {query}")
    columns, rest = match.groups()
    source, rest = _source(rest)
    shape = r"(?: WHERE (.+?))?(?: GROUP BY (.+?))?(?: fill\((?:null|none)\))?"
    shape += r"(?: ORDER BY time DESC LIMIT (\d+))?$"
    found = re.match(shape, rest)
    if found is None:
        raise ValueError(f"no query of ours: {query}")
    where, group, rows_max = found.groups()
    interval = re.search(r"time\((\d+)s\)", group or "")
    by = re.findall(r'"(\w+)"', group or "")
    return Parsed(
        _split(columns), source, where or "", int(interval.group(1)) if interval else None, by,
        int(rows_max) if rows_max else None,
    )  # fmt: skip


def _source(text: str) -> tuple[str, str]:
    """The measurement, or the query in brackets, and what follows."""
    if not text.startswith("("):
        name = re.match(r'"(\w+)"', text)
        if name is None:
            raise ValueError(f"no measurement: {text}")
        return name.group(1), text[name.end() :]
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[: i + 1], text[i + 1 :]
    raise ValueError(f"a bracket is open: {text}")


def _split(columns: str) -> list[str]:
    """At the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", columns)]


def _condition(where: str) -> str:
    found = re.sub(r'("\w+") =~ /(.*?)/(?= |\)|$)', r"regexp_matches(\1, '\2')", where)
    return re.sub(r"time ([<>]=) (\d+)ms", r"ns \1 \2 * 1000000", found)


def _expression(column: str, by: list[str]) -> str:
    """InfluxQL's functions in SQL's words."""
    window = f"(PARTITION BY {', '.join(by)} ORDER BY ns)" if by else "(ORDER BY ns)"
    pair = window.replace(")", " ROWS 1 PRECEDING)")
    found = re.sub(r"moving_average\((\"\w+\"), 2\)", rf"avg(\1) OVER {pair}", column)
    found = re.sub(r"difference\((\"\w+\")\)", rf"(\1 - lag(\1) OVER {window})", found)
    found = re.sub(r"\blast\((\"\w+\")\)", r"arg_max(\1, ns)", found)
    return re.sub(r"\bmean\(", "avg(", found)


def _arrow(folder: Path) -> pa.Table:
    return pa.table(DeltaTable(str(folder)).to_pyarrow_dataset().to_table())


def _with_reasons(predictions: pa.Table) -> pa.Table:
    """The reasons as text, as a dashboard gets them."""
    told = [
        "; ".join(wording.contribution(Contribution(**each)) for each in found) if found else None
        for found in predictions["contributions"].to_pylist()
    ]
    return predictions.append_column("told", pa.array(told, pa.string()))
