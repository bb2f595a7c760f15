"""The enrolment service over `grpc.aio`. Thin: parse, call, map refusals."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc

from control_plane.audit.centre_log import CentreAct
from control_plane.enrolment.admission import Admission
from control_plane.enrolment.enrolment import Enrolment
from control_plane.enrolment.refusals import Refusals
from control_plane.rpc.peer import peer_certificate
from control_plane.rpc.server import start_server
from control_plane.rpc.wrapping import Wrapping
from shared.errors import Rejected
from shared.wire import enrolment_pb2, enrolment_pb2_grpc

REFUSED_MAX = 10  # of one address in `REFUSED_PERIOD_S`; a person mistypes a few times
REFUSED_PERIOD_S = 60.0
ADDRESSES_MAX = 1000  # remembered
MESSAGE_BYTES_MAX = 64 * 1024
SERVICE = enrolment_pb2.DESCRIPTOR.services_by_name["Enrolment"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class RefusalLimit:
    """Counts refusals by address; who has too many is not looked at for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: OrderedDict[str, list[float]] = OrderedDict()

    def reached(self, address: str) -> bool:
        """Whether the address has had its share of refusals."""
        since = self._clock() - REFUSED_PERIOD_S
        return len([at for at in self._refused.get(address, ()) if at > since]) >= REFUSED_MAX

    def count(self, address: str) -> None:
        """One more refusal; the address that was quiet for longest is forgotten when there are too many."""
        self._refused[address] = [*self._refused.pop(address, ()), self._clock()][-REFUSED_MAX:]
        if len(self._refused) > ADDRESSES_MAX:
            self._refused.popitem(last=False)


class EnrolmentService(enrolment_pb2_grpc.EnrolmentServicer):
    """Enroll takes a token, Renew the certificate in use."""

    def __init__(self, enrolment: Enrolment, admission: Admission, refusals: Refusals) -> None:
        self._enrolment, self._admission, self._refusals = enrolment, admission, refusals
        self._limit = RefusalLimit()
        self._one = asyncio.Lock()  # the register is written by one thread at a time

    async def Enroll(  # noqa: N802 - the name in the .proto
        self, request: enrolment_pb2.EnrollRequest, context: Context
    ) -> enrolment_pb2.Enrolled:
        """A certificate for a token."""
        address = _address(context.peer())
        if self._limit.reached(address):
            wait = f"wait {REFUSED_PERIOD_S:.0f} s"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many refusals; {wait}")
        try:
            async with self._one:
                granted = await asyncio.to_thread(
                    self._enrolment.enrol,
                    request.site_id,
                    request.token,
                    request.certificate_request,
                    request.audit_public_key,
                )
        except Rejected as error:
            self._limit.count(address)
            await self._refuse(context, request.site_id, error, address)
        return enrolment_pb2.Enrolled(**granted._asdict())

    async def Renew(  # noqa: N802 - the name in the .proto
        self, request: enrolment_pb2.RenewRequest, context: Context
    ) -> enrolment_pb2.Renewed:
        """The next certificate for one that holds."""
        shown = peer_certificate(context)
        if shown is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "renewing needs the certificate in use")
        site = ""
        try:
            site = self._admission.site(shown)
            async with self._one:
                text = await asyncio.to_thread(
                    self._enrolment.renew, site, shown, request.certificate_request
                )
        except Rejected as error:
            await self._refuse(context, site or shown.subject.rfc4514_string(), error, context.peer())
        return enrolment_pb2.Renewed(certificate=text)

    async def _refuse(self, context: Context, subject: str, error: Rejected, address: str) -> None:
        note = self._refusals.note
        await asyncio.to_thread(note, CentreAct.ENROLMENT_REFUSED, subject[:80], str(error), address=address)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))


async def start_enrolment_server(
    service: EnrolmentService, address: str, credentials: grpc.ServerCredentials
) -> grpc.aio.Server:
    """Serve to who has no certificate yet: TLS of the centre alone."""

    def add(server: Wrapping) -> None:
        enrolment_pb2_grpc.add_EnrolmentServicer_to_server(service, server)

    return await start_server(address, "--enrol-listen", SERVICE, add, MESSAGE_BYTES_MAX, credentials)


def _address(peer: str) -> str:
    """`ipv4:192.0.2.7:41234` without the port."""
    return peer.rpartition(":")[0]
