"""An alarm list that is killed with SIGKILL in the middle of its work: `dying_alerts.py DIR URL EVENT SEED`.

It takes the same alerts from the beginning each time, as ingest does when its offsets were not committed,
and tells them to the web server at URL. Events are the beginnings and ends of writes to the list, of posts
and of marks. With EVENT 0 nothing is killed, and it ends when all is told.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from control_plane.alerts import notifier as module
from control_plane.alerts.channels import Webhook
from control_plane.alerts.notifier import Notifier
from control_plane.alerts.settings import WebhookSettings
from control_plane.alerts.store import AlertStore
from control_plane.layout import Layout
from control_plane.sinks.alerts import AlertSink
from control_plane.sinks.arrival import Arrival
from shared.envelope import Envelope
from shared.schemas import Alert, ComponentId, utc_now
from tests.support.console_lake import alert
from tests.support.dying_ingest import Fate

ALERTS = 12
START = datetime(2026, 3, 1, tzinfo=UTC)


def transitions() -> list[Alert]:
    """Each alert raised, then each cleared: of components of their own."""
    keys = [ComponentId("TX01", "R1", f"pump-{n}") for n in range(ALERTS)]
    return [
        alert(key, START + timedelta(seconds=number), f"a{n}", state)
        for number, (state, n, key) in enumerate(
            (state, n, key) for state in ("raised", "cleared") for n, key in enumerate(keys)
        )
    ]


def live(layout: Layout, url: str) -> None:
    """Take everything, tell everything."""
    store, way = layout.alert_store(), Webhook(WebhookSettings(url, None))
    notifier, sink = Notifier(store, [way], layout.centre_log(), utc_now), AlertSink(layout.alert_store())
    notifier.follow()
    with notifier.telling():
        for seq, one in enumerate(transitions()):
            envelope = Envelope(one.SCHEMA, "TX01", "store-TX01", seq, "c0ffee")
            sink.accept([Arrival(one, b"", envelope)])
        while store.next_notice(way.name):
            time.sleep(0.01)


def main() -> None:
    """Work until fate comes."""
    folder, url, event, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    fate = Fate(event, seed)
    module.LOOK_PERIOD_S = 0.01
    AlertStore.take = fate.around(AlertStore.take)  # type: ignore[method-assign]
    AlertStore.settle = fate.around(AlertStore.settle)  # type: ignore[method-assign]
    Webhook.send = fate.around(Webhook.send)  # type: ignore[method-assign]
    live(Layout(folder), url)


if __name__ == "__main__":
    main()
