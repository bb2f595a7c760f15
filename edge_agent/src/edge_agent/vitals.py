"""Gathers what the parts know of themselves, for `health` to judge."""

import time
from collections.abc import Sequence
from math import inf

from edge_agent.centre import Centre
from edge_agent.forward import Forwarding
from edge_agent.health import BacklogWatch, Health, Problem, Vitals, judge
from edge_agent.poller import Poller
from edge_agent.recorder import Recorder
from edge_agent.reload import Reloader
from edge_agent.settings import AgentSettings


class SiteVitals:
    """How the site is now. Any thread may ask: numbers and texts, each replaced as a whole."""

    def __init__(
        self,
        settings: AgentSettings,
        poller: Poller,
        recorder: Recorder,
        reloader: Reloader,
        backlog: BacklogWatch,
        forwarding: Forwarding,
        centre: Centre,
    ) -> None:
        self._settings, self._poller, self._recorder = settings, poller, recorder
        self._reloader, self._backlog, self._forwarding = reloader, backlog, forwarding
        self._centre = centre

    def problems(self) -> list[Problem]:
        """Everything that is wrong."""
        poller, backlog, now = self._poller, self._backlog, time.monotonic()
        step_s, stepped_at = poller.last_step or (0.0, -inf)
        recent = tuple(poller.recent)
        return judge(
            Vitals(
                moved_s=now - poller.moved_at,
                moved_s_max=poller.moved_s_max,
                good_s=now - poller.last_good_at,
                poll_period_s=poller.config.plant.poll_period_s,
                values_good=sum(good for good, _ in recent),
                values_bad=sum(bad for _, bad in recent),
                disk=self._recorder.failing,
                unscored=poller.unscored,
                outbox_rows=backlog.rows,
                outbox_share=backlog.share,
                oldest_s=backlog.oldest_s,
                undelivered_s=backlog.stalled_s,
                kafka=self._settings.kafka,
                kafka_says=self._forwarding.trouble,
                held=self._forwarding.held,
                clock_step_s=step_s,
                clock_step_ago_s=now - stepped_at,
                config_refused=self._reloader.refused,
                updates_blocked=self._centre.updates_blocked,
            )
        )

    def health(self) -> Health:
        """For /healthz."""
        return Health.of(self.problems())

    def in_a_line(self, problems: Sequence[Problem]) -> str:
        """For `systemctl status`: the state, and why or what goes on."""
        state, reasons = Health.of(problems)
        config = self._poller.config
        period_s, count = config.plant.poll_period_s, len(config.components)
        fine = f"{self._settings.site} is polled every {period_s:g} s, {count} components"
        return f"{state}: {'; '.join(reasons) or fine}"
