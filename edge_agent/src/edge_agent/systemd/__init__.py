"""What the service manager hears of the agent: ready, alive, reloading, stopping; and its log lines.

Enters: the environment systemd gives a service (NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM). Leaves:
datagrams to systemd, lines on standard output. Never: a decision about the site; nor a failure, where no
systemd started the agent.
"""

from edge_agent.systemd.logs import configure_logs
from edge_agent.systemd.notify import ServiceManager

__all__ = ["ServiceManager", "configure_logs"]
