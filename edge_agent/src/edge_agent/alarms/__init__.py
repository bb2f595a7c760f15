"""What an operator does about alarms, and how well behaved they are.

Enters: requests from the command line, as files in the data folder. Leaves: transitions of alerts, to the
recorder; an answer to each request. Never: the network; a decision of its own about an alarm's condition.
"""

from edge_agent.alarms.desk import AlarmDesk
from edge_agent.alarms.requests import AlarmRequest, RequestSpool

__all__ = ["AlarmDesk", "AlarmRequest", "RequestSpool"]
