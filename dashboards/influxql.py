"""Queries in InfluxQL, which InfluxDB 1.x, 2 and 3 answer, against what `sinks/influx_points.py` writes."""

import re
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

INFLUXDB = DataSourceRef(type_val="influxdb", uid="pm-influxdb")

# `:regex` makes one value, several or All one regular expression, with what is special in names escaped.
SITE = '"site_id" =~ /^${site:regex}$/'
REACTOR = f'{SITE} AND "reactor_id" =~ /^${{reactor:regex}}$/'
COMPONENT = f'{REACTOR} AND "component" =~ /^${{component:regex}}$/'
ACTIVE = "\"mode\" = 'active'"  # what a shadow says is for a roll-out to judge, not for an operator
BY_COMPONENT = ("site_id", "reactor_id", "component")


class InfluxQuery(builder.Builder[variants.Dataquery], variants.Dataquery):
    """A query of a panel or a rule, as Grafana's InfluxDB data source keeps one. The SDK has none."""

    def __init__(
        self, query: str, alias: str = "", ref_id: str = "A", form: str = "time_series", **more: object
    ) -> None:
        self._payload: dict[str, object] = {
            "refId": ref_id,
            "datasource": INFLUXDB,
            "query": query,
            "rawQuery": True,
            "resultFormat": form,
            **({"alias": alias} if alias else {}),
            **more,
        }

    def build(self) -> variants.Dataquery:
        """Itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """As it stands in a dashboard."""
        return self._payload


def over_time(
    columns: Mapping[str, str],
    measurement: str,
    where: Sequence[str],
    by: Sequence[str] = (),
    fill: str = "null",
) -> str:
    """A value per interval: `columns` are expressions by name; no number where there was none."""
    groups = ", ".join(["time($__interval)", *map(quoted, by)])
    return f"{_selected(columns, measurement, where)} GROUP BY {groups} fill({fill})"


def latest(columns: Mapping[str, str], measurement: str, where: Sequence[str], by: Sequence[str]) -> str:
    """One value per series for the whole range."""
    return f"{_selected(columns, measurement, where)} GROUP BY {', '.join(map(quoted, by))}"


def said_last(columns: Mapping[str, str], where: Sequence[str], by: Sequence[str]) -> str:
    """One value per series of the newest prediction alone: `columns` are expressions of `last("field")`. What
    that one does not say, as a RUL that is withheld, has no value, whatever was said before it."""
    fields = dict.fromkeys(re.findall(r'last\("(\w+)"\)', " ".join(columns.values())))
    newest = {"newest": 'last("anomaly_score")', **{name: quoted(name) for name in fields}}
    groups = ", ".join(map(quoted, by))
    inner = f"{_selected(newest, 'prediction', where)} GROUP BY {groups}"
    return f"SELECT {_named(columns)} FROM ({inner}) GROUP BY {groups}"


def rows(names: Sequence[str], measurement: str, where: Sequence[str], rows_max: int) -> str:
    """The newest rows as they are, tags among the columns."""
    columns = {name: quoted(name) for name in names}
    return f"{_selected(columns, measurement, where, named=False)} ORDER BY time DESC LIMIT {rows_max}"


def tag_values(key: str, *where: str) -> str:
    """What a variable offers."""
    found = f" WHERE {' AND '.join(where)}" if where else ""
    return f'SHOW TAG VALUES FROM "telemetry" WITH KEY = {quoted(key)}{found}'


def model_changes(where: str) -> str:
    """Where another version of the model answers than did before: the new one's number.

    The mean of two neighbours plus half their difference is the later one: InfluxQL cannot select it.
    """
    inner = _selected(
        {
            "version_now": 'moving_average("version", 2) + difference("version") / 2',
            "change": 'difference("version")',
        },
        "prediction",
        [ACTIVE, where],
    )
    groups = ", ".join(map(quoted, BY_COMPONENT))
    return f'SELECT "version_now", "change", {groups} FROM ({inner} GROUP BY {groups}) WHERE "change" != 0'


def quoted(name: str) -> str:
    """An identifier."""
    return f'"{name}"'


def _selected(columns: Mapping[str, str], measurement: str, where: Sequence[str], named: bool = True) -> str:
    found = _named(columns) if named else ", ".join(columns.values())
    conditions = " AND ".join([*where, "$timeFilter"])
    return f"SELECT {found} FROM {quoted(measurement)} WHERE {conditions}"


def _named(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{what} AS {quoted(name)}" for name, what in columns.items())
