"""One Modbus TCP connection with one outstanding request; closed whenever an answer might be late.

Modbus TCP has no checksum: what tells the answer from any other is the transaction id, the unit, the
function code and two lengths. All five must be right; a transaction id of 0 is no wildcard.
"""

import logging
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from edge_agent.sources.plan import Block
from shared.schemas import Quality

ILLEGAL_DATA_ADDRESS: Final = 2  # exception code, Modbus application protocol v1.1b3, section 7
_EXCEPTION: Final = 0x80  # set in the function code of an answer that is an exception
_FUNCTION_AT: Final = 7  # place of the function code in a frame, after the MBAP header
_REQUEST_BY_TABLE: Final = {"holding": ReadHoldingRegistersRequest, "input": ReadInputRegistersRequest}

# What pymodbus would write to its log about a poll, the quality of the reading says.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ReadFailed(Exception):
    """A request brought no registers: the quality of its tags, and the device's exception code if any."""

    def __init__(self, quality: Quality, exception_code: int | None = None) -> None:
        super().__init__(f"{quality} (exception code {exception_code})")
        self.quality = quality
        self.exception_code = exception_code


class _HoldingAnswer(ReadHoldingRegistersResponse):
    """The answer's bytes as they came: the byte count, then the registers."""

    body = b""

    def decode(self, data: bytes) -> None:
        self.body = data


class _InputAnswer(ReadInputRegistersResponse):
    """The same for input registers."""

    body = b""

    def decode(self, data: bytes) -> None:
        self.body = data


class ModbusConnection:
    """Opens when asked to read; one failed attempt to open is the last of its poll."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._client: AsyncModbusTcpClient | None = None
        self._given_up = False
        self._function_code = 0  # of the outstanding request, 0 where there is none
        self._last_transaction = 0

    def begin_poll(self) -> None:
        """A new poll may try to connect again."""
        self._given_up = False

    async def ask(self, unit: int, block: Block) -> bytes:
        """The block's registers as sent, two bytes each; ReadFailed says why there are none.

        Takes `timeout_s` at most, twice that where it must connect first.
        """
        client = await self._connected()
        request = _REQUEST_BY_TABLE[block.table](address=block.address, count=block.count, dev_id=unit)
        self._function_code = request.function_code
        try:
            reply: ModbusPDU = await client.execute(False, request)
        except ModbusException as error:
            quality = Quality.TIMEOUT if client.connected else Quality.DISCONNECTED
            self.close()  # the answer may still come; on a new connection it cannot be taken for another
            raise ReadFailed(quality) from error
        except BaseException:
            self.close()  # cancelled in mid-request: the same
            raise
        finally:
            self._function_code = 0
        if reply.transaction_id == request.transaction_id and reply.dev_id == unit:
            if reply.function_code == request.function_code | _EXCEPTION:
                raise ReadFailed(Quality.DEVICE_EXCEPTION, reply.exception_code)
            size = 2 * block.count
            if (
                isinstance(reply, _HoldingAnswer | _InputAnswer)
                and len(reply.body) == 1 + size == 1 + reply.body[0]
            ):
                return reply.body[1:]
        self.close()  # an answer to some other question
        raise ReadFailed(Quality.DEVICE_EXCEPTION)

    def close(self) -> None:
        """Give up the connection; the next request opens another."""
        if self._client is not None:
            self._last_transaction = self._client.ctx.next_tid
            self._client.close()
            self._client = None

    async def _connected(self) -> AsyncModbusTcpClient:
        """An open client, a new object for each connection; it neither retries nor reconnects itself."""
        if self._client is not None and self._client.connected:
            return self._client
        self.close()
        if self._given_up:
            raise ReadFailed(Quality.DISCONNECTED)
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._only_answers,
            trace_connect=self._hung_up,
        )
        client.register(_HoldingAnswer)
        client.register(_InputAnswer)
        if not await client.connect():
            self._given_up = True
            raise ReadFailed(Quality.DISCONNECTED)
        # A gateway may hand a late answer to the next connection: its transaction id is not used again.
        client.ctx.next_tid = self._last_transaction
        self._client = client
        return client

    def _hung_up(self, connected: bool) -> None:
        """The device closed the connection: the outstanding request need not wait for its timeout."""
        if not connected and self._function_code and self._client is not None:
            answer = self._client.ctx.response_future
            if not answer.done():
                answer.set_exception(ConnectionException("closed by the device"))

    def _only_answers(self, sending: bool, data: bytes) -> bytes:
        """What was received, unless its function code is of no answer to the request: then nothing.

        pymodbus would abort the connection on some of those, with a traceback in the log.
        """
        if sending or len(data) <= _FUNCTION_AT:
            return data
        return data if data[_FUNCTION_AT] & ~_EXCEPTION == self._function_code else b""
