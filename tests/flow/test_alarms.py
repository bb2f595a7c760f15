"""Alarms of a running agent: shelved from the command line, and still the same after kill -9."""

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from edge_agent.commands.alarm import app
from shared.errors import Rejected, Retryable
from tests.support.agent_process import Site, until

pytestmark = pytest.mark.slow
BY = ["--by", "A. Reyes", "--reason", "transmitter is being replaced"]


class Operator:
    """At the site's command line."""

    def __init__(self, site: Site) -> None:
        self._data = ["--data-dir", str(site.data)]

    def does(self, *words: str) -> str:
        """What a command prints; what it fails with is raised."""
        done = CliRunner().invoke(app, [*words, *self._data], catch_exceptions=True)
        if done.exception:
            raise done.exception
        return done.output

    def sees(self) -> dict[str, str]:
        """The state of each alert."""
        return {alarm["alert_id"]: alarm["state"] for alarm in json.loads(self.does("list", "--json"))}


def test_alarms_outlive_a_kill_and_an_operator_shelves_one(tmp_path):
    """A plant that is away: one event, one alert a tag; shelved, killed, resumed, cleared once each."""
    site = Site(tmp_path)
    site.write("{heat_exchanger: {}}")
    operator = Operator(site)
    with site.agent():
        until(lambda: len(site.rows("alert/1")) == 7, "an alert for each dead tag")
        shelved, other, *_ = operator.sees()
        assert "done: shelve" in operator.does("shelve", shelved[:8], *BY, "--hours", "4")
        with pytest.raises(Rejected, match="its condition still holds"):
            operator.does("reset", other, *BY)
    raised = {alert["alert_id"] for alert in site.rows("alert/1")}
    assert len({alert["event_id"] for alert in site.rows("alert/1")}) == 1
    [entry] = [e["detail"] for e in site.events("alert") if e["detail"]["state"] == "shelved"]
    assert (entry["operator"], entry["reason"]) == ("A. Reyes", "transmitter is being replaced")
    assert Counter(operator.sees().values()) == {"raised": 6, "shelved": 1}
    with pytest.raises(Retryable, match="no agent answered"):
        operator.does("unshelve", shelved, *BY, "--wait-s", "0.1")
    with site.plant(), site.agent():
        until(lambda: operator.sees() == {shelved: "shelved"}, "the others have cleared")
        operator.does("unshelve", shelved, *BY)
        until(lambda: operator.sees() == {}, "nothing stands")
    told = Counter((alert["alert_id"], alert["state"]) for alert in site.rows("alert/1"))
    assert told == Counter([(key, state) for key in raised for state in ("raised", "cleared")]) + Counter(
        [(shelved, "shelved"), (shelved, "unshelved")]
    )
