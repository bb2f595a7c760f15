"""One OPC UA session with one subscription; closed whenever it fails, opened again when next asked."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog
from asyncua import Client, ua

from edge_agent.sources.opcua_moments import quality_of
from edge_agent.sources.opcua_security import Refused, refusal, secure
from shared.errors import ConfigError
from shared.opcua_certificates import load_credentials
from shared.opcua_nodes import NodeName
from shared.plant_config import OpcUaSecurity
from shared.schemas import Quality

CONNECT_S_MAX = 30.0  # all requests of it together; each has the plant's timeout
RECONNECT_S_MAX = 5.0  # between two attempts to connect; they begin with the next poll and double
PUBLISHES_PER_POLL = 10  # a poll waits at most one of these for what the server has just got
PUBLISHING_S_MIN = 0.01  # below it a server spends its time on timers
PUBLISHING_S_MAX = 1.0  # above it the session might end between two publications
ITEMS_PER_REQUEST_MAX = 500  # below the MaxMonitoredItemsPerCall of common servers
QUEUE_SIZE = 10  # values of a variable that the server keeps between two publications
KEEP_ALIVE_PUBLISHES = 10  # the server then publishes that nothing has changed
SILENT_PUBLISHES_MAX = 3 * KEEP_ALIVE_PUBLISHES  # more of them unheard: the subscription is dead
LIFETIME_PUBLISHES = 60 * KEEP_ALIVE_PUBLISHES  # without a sign of us the server ends the subscription
SEQUENCE_NUMBER_MAX = 0xFFFF_FFFF  # of a notification
SESSION_S = 600.0  # without a request the server ends the session
HEALTH_CHECK_S = 3600.0  # asyncua's own look at the server; each of our polls is one
STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)  # asked for where there is no counter to ask for

UNKNOWN = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown))

log = structlog.get_logger()

OnValue = Callable[[int, ua.DataValue], None]

# What asyncua would write to its log about a poll, the quality of the reading says; it logs some at CRITICAL.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class NotAnswered(Exception):
    """A poll got no answer: the quality of all its tags."""

    def __init__(self, quality: Quality) -> None:
        super().__init__(str(quality))
        self.quality = quality


class OpcUaConnection:
    """Keeps every variable subscribed, and asks for some at each poll.

    `variables` are named by their place in the list, their handle, and `counters` are some of them.
    `on_value` gets the handle and each value that is published; `on_closed` is called when a connection
    ends, for what it brought says nothing more. A node that the server lacks is BadNodeIdUnknown.
    """

    def __init__(
        self,
        url: str,
        poll_period_s: float,
        timeout_s: float,
        security: OpcUaSecurity | None,
        variables: Sequence[NodeName],
        counters: Sequence[int],
        on_value: OnValue,
        on_closed: Callable[[], None],
    ) -> None:
        self._url, self._poll_period_s, self._timeout_s = url, poll_period_s, timeout_s
        self._interval_s = min(max(poll_period_s / PUBLISHES_PER_POLL, PUBLISHING_S_MIN), PUBLISHING_S_MAX)
        self._security = security
        self._told = ""  # the last reason of a refusal that was logged
        self._variables, self._counters = variables, counters
        self._on_value, self._on_closed = on_value, on_closed
        self._client: Client | None = None
        self._opening: asyncio.Task[Client] | None = None
        self._node_ids: dict[int, ua.NodeId] = {}  # of each handle whose namespace this server has
        self._published = asyncio.Event()
        self._published_at = 0.0
        self._sequence_number: int | None = None  # of the last notification
        self._out_of_order = False
        self._quality = Quality.DISCONNECTED  # of the last failure
        self._retry_at, self._delay_s = 0.0, 0.0

    async def ask(self) -> dict[int, ua.DataValue]:
        """The counters by handle, read now; NotAnswered says why there are none.

        Takes `timeout_s` at most, twice that where it must connect first. Connecting takes some ten
        requests; where `timeout_s` is too short for them, it goes on beside the polls. After a failure
        it waits 0, 1, 2, 4, ... periods before it tries again, RECONNECT_S_MAX at most.
        """
        try:
            client = await self._opened()
            known = [handle for handle in self._counters if handle in self._node_ids]
            nodes = [STATE, *(self._node_ids[handle] for handle in known)]
            # asyncua's own timeout: one of ours around it can race it, and what is raised then is a
            # CancelledError of asyncua's that asyncio.timeout of Python 3.11 lets through.
            _, *values = await client.uaclient.read_attributes(nodes, ua.AttributeIds.Value)
        except NotAnswered:
            raise
        except Exception as error:  # asyncua lets through whatever a broken answer makes it raise
            await self._give_up(error)
            raise NotAnswered(self._quality) from error
        self._delay_s, self._told = 0.0, ""
        return dict.fromkeys(self._counters, UNKNOWN) | dict(zip(known, values, strict=True))

    async def wait_until(self, satisfied: Callable[[], bool]) -> None:
        """Wait for publications until they satisfy, or for `timeout_s`; a broken subscription is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not self._out_of_order and (self._silent or not satisfied()):
                    self._published.clear()
                    await self._published.wait()
        if self._out_of_order or self._silent:
            await self._drop()

    async def close(self) -> None:
        """Tell the server, where it answers within `timeout_s`, and leave."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
            self._opening = None
        if self._client is not None:
            leaving = asyncio.create_task(self._client.disconnect())
            await asyncio.wait({leaving}, timeout=self._timeout_s)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await self._drop()

    @property
    def _silent(self) -> bool:
        return time.monotonic() - self._published_at > SILENT_PUBLISHES_MAX * self._interval_s

    async def _opened(self) -> Client:
        """The open client; waits `timeout_s` for one that is being opened."""
        if self._opening is None:
            if self._client is not None:
                return self._client
            if time.monotonic() < self._retry_at:
                raise NotAnswered(self._quality)
            self._opening = asyncio.create_task(self._open())
        done, _ = await asyncio.wait({self._opening}, timeout=self._timeout_s)
        if not done:
            raise NotAnswered(Quality.TIMEOUT)
        opening, self._opening = self._opening, None
        if opening.cancelled():
            raise TimeoutError("connecting took too long")  # CONNECT_S_MAX met a request's own timeout
        return opening.result()

    async def _open(self) -> Client:
        self._client = client = Client(self._url, self._timeout_s, watchdog_intervall=HEALTH_CHECK_S)
        client.session_timeout = int(SESSION_S * 1000)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                if self._security is not None:  # read anew, so that a renewed certificate is taken
                    await secure(client, self._url, self._timeout_s, load_credentials(self._security))
                await client.connect()
                self._node_ids = self._found(await client.get_namespace_array())
                await self._subscribe(client)
        except BaseException:
            await self._drop()
            raise
        return client

    async def _subscribe(self, client: Client) -> None:
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=1000 * self._interval_s,
            RequestedLifetimeCount=ua.UInt32(LIFETIME_PUBLISHES),
            RequestedMaxKeepAliveCount=ua.UInt32(KEEP_ALIVE_PUBLISHES),
            PublishingEnabled=True,
        )
        self._published_at = time.monotonic()
        self._sequence_number, self._out_of_order = None, False
        made = await client.uaclient.create_subscription(wanted, partial(self._on_publish, client))
        items = [self._item(handle, node_id) for handle, node_id in self._node_ids.items()]
        results: list[ua.MonitoredItemCreateResult] = []
        for first in range(0, len(items), ITEMS_PER_REQUEST_MAX):
            part = items[first : first + ITEMS_PER_REQUEST_MAX]
            results += await client.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(SubscriptionId=made.SubscriptionId, ItemsToCreate=part)
            )
        refused = {h: UNKNOWN for h in range(len(self._variables)) if h not in self._node_ids}
        for handle, result in zip(self._node_ids, results, strict=True):
            if not result.StatusCode.is_good():
                refused[handle] = ua.DataValue(StatusCode=result.StatusCode)
        for handle, value in refused.items():
            self._on_value(handle, value)

    @staticmethod
    def _item(handle: int, node_id: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        """Every change of value, status or source time is wanted, a repeated value too."""
        changes = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node_id, AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=ua.UInt32(handle),
                SamplingInterval=0.0,
                Filter=changes,
                QueueSize=ua.UInt32(QUEUE_SIZE),
                DiscardOldest=True,
            ),
        )

    def _on_publish(self, client: Client, result: ua.PublishResult) -> None:
        if client is not self._client:
            return  # the last words of a connection that was given up
        told = result.NotificationMessage.NotificationData or ()
        if told and not self._follows(result.NotificationMessage.SequenceNumber):
            self._out_of_order = True
            self._published.set()
            return
        for notification in told:
            if isinstance(notification, ua.DataChangeNotification):
                for item in notification.MonitoredItems:
                    self._on_value(item.ClientHandle, item.Value)
        self._published_at = time.monotonic()
        self._published.set()

    def _follows(self, number: int) -> bool:
        """Whether none is missing or comes again: OPC UA part 4, section 5.14.1.1; after the last comes 1."""
        before, self._sequence_number = self._sequence_number, number
        return before is None or number == before % SEQUENCE_NUMBER_MAX + 1

    def _found(self, namespaces: Sequence[str]) -> dict[int, ua.NodeId]:
        """The node id of each handle, with the index that its namespace has in this very connection."""
        return {
            handle: ua.NodeId(name.identifier, namespaces.index(name.namespace_uri))
            for handle, name in enumerate(self._variables)
            if name.namespace_uri in namespaces
        }

    async def _give_up(self, error: Exception) -> None:
        self._quality = _quality(error)
        reason = refusal(error, self._security)
        if reason and reason != self._told:
            log.warning("no secure connection to the OPC UA server", server=self._url, reason=reason)
        self._told = reason or self._told
        self._retry_at = time.monotonic() + self._delay_s
        self._delay_s = min(max(2 * self._delay_s, self._poll_period_s), RECONNECT_S_MAX)
        await self._drop()

    async def _drop(self) -> None:
        """Close the socket without a word to a server that may not answer, and end asyncua's tasks."""
        client, self._client = self._client, None
        if client is None:
            return
        self._on_closed()
        protocol = client.uaclient.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()
            await asyncio.sleep(0)  # the transport tells asyncua
        await client.disconnect()
        await asyncio.sleep(0)


def _quality(error: Exception) -> Quality:
    if isinstance(error, TimeoutError):
        return Quality.TIMEOUT
    if isinstance(error, OSError | Refused | ConfigError):
        return Quality.DISCONNECTED
    if isinstance(error, ua.UaStatusCodeError):
        return quality_of(error.code)
    return Quality.DEVICE_EXCEPTION
