"""One Modbus TCP connection with one outstanding request; closed whenever an answer might be late."""

import logging
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_agent.sources.plan import Block
from shared.schemas import Quality

ILLEGAL_DATA_ADDRESS: Final = 2  # exception code, Modbus application protocol v1.1b3, section 7
_FUNCTION_BY_TABLE: Final = {"holding": 3, "input": 4}

# What pymodbus would write to its log about a poll, the quality of the reading says.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ReadFailed(Exception):
    """A request brought no registers: the quality of its tags, and the device's exception code if any."""

    def __init__(self, quality: Quality, exception_code: int | None = None) -> None:
        super().__init__(f"{quality} (exception code {exception_code})")
        self.quality = quality
        self.exception_code = exception_code


class ModbusConnection:
    """Opens when asked to read; one failed attempt to open is the last of its poll."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._client: AsyncModbusTcpClient | None = None
        self._given_up = False

    def begin_poll(self) -> None:
        """A new poll may try to connect again."""
        self._given_up = False

    async def ask(self, unit: int, block: Block) -> list[int]:
        """The block's registers; ReadFailed says why there are none. Takes `timeout_s` at most, twice
        that where it must connect first."""
        client = await self._connected()
        read = client.read_holding_registers if block.table == "holding" else client.read_input_registers
        try:
            reply = await read(block.address, count=block.count, device_id=unit)
        except ModbusException as error:
            quality = Quality.TIMEOUT if client.connected else Quality.DISCONNECTED
            self.close()  # the answer may still come; on a new connection it cannot be taken for another
            raise ReadFailed(quality) from error
        except BaseException:
            self.close()  # cancelled in mid-request: the same
            raise
        if reply.isError():
            raise ReadFailed(Quality.DEVICE_EXCEPTION, reply.exception_code)
        registers = list(reply.registers)
        if len(registers) != block.count or reply.function_code != _FUNCTION_BY_TABLE[block.table]:
            self.close()  # an answer to some other question
            raise ReadFailed(Quality.DEVICE_EXCEPTION)
        return registers

    def close(self) -> None:
        if self._client is not None:
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
            self._host, port=self._port, timeout=self._timeout_s, retries=0, reconnect_delay=0
        )
        if not await client.connect():
            self._given_up = True
            raise ReadFailed(Quality.DISCONNECTED)
        self._client = client
        return client
