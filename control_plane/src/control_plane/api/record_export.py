"""`/audit/export`: a site's record for an inspector as one zip, what `control-plane audit export` writes.

One is made at a time, in a process of its own. It is on the centre's record, with the zip's SHA-256, before a
byte leaves.
"""

import asyncio
import hashlib
import multiprocessing
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from control_plane.access.pages import page
from control_plane.access.sign_in_routes import form
from control_plane.access.visitor import visitor_of
from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.audit.centre_log import CentreAct
from control_plane.audit.export import export
from control_plane.audit.tiles import TileStore
from control_plane.layout import Layout
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas.base import OWN_NAMES

_PREFIX = ".export-"  # of the folder in which one is made; one that a crash left goes with the next
_CHUNK_BYTES = 1 << 16
_NICE = 10  # operators' pages go first


class Zipped(NamedTuple):
    """An open file that has no name any more: it ends with whoever reads it."""

    name: str
    file: BufferedReader
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes, then the end of the file."""
        with self.file as file:
            while found := file.read(_CHUNK_BYTES):
                yield found


class Made(NamedTuple):
    """What is told of an export that lies zipped in `path`."""

    path: Path
    at: datetime
    entries: int
    verified: bool


Elsewhere = Callable[[Layout, str, Path], Made]


class ExportDesk:
    """Makes exports of one centre's record; `elsewhere` does the work (blocking)."""

    def __init__(self, layout: Layout, elsewhere: Elsewhere | None = None) -> None:
        self._layout, self._elsewhere = layout, elsewhere or in_a_process
        self._turn = asyncio.Lock()

    def sites(self) -> list[str]:
        """Whose record can be exported: something of it has been co-signed. Blocking."""
        folders = self._layout.tiles.iterdir() if self._layout.tiles.is_dir() else ()
        return sorted(
            each.name for each in folders if each.name not in OWN_NAMES and TileStore(each).checkpoint()
        )

    async def make(self, site: str, who: str) -> Zipped:
        """Rejected for a site without a record, Retryable while another is made or there is no reading."""
        if self._turn.locked():
            raise Retryable("another export is being made; ask again when it has ended")
        async with self._turn:
            try:
                return await asyncio.to_thread(self._make, site, who)
            except (*LAKE_ERRORS, BrokenProcessPool) as error:
                raise Retryable(f"the record cannot be read: {error}") from error

    def _make(self, site: str, who: str) -> Zipped:
        if site not in (known := self.sites()):
            there_is = ", ".join(known) or "none"
            raise Rejected(f"found the site {site!r}; there is a co-signed record of {there_is}")
        home = self._layout.data_dir  # and not /tmp, which may be memory
        for left in home.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=_PREFIX) as folder:
            made = self._elsewhere(self._layout, site, Path(folder))
            file = made.path.open("rb")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        told: dict[str, str | int] = {"by": who, "entries": made.entries, "verified": made.verified}
        self._layout.centre_log().note(CentreAct.RECORD_EXPORTED, site, **told, sha256=digest)
        return Zipped(f"record-{site}-{made.at:%Y%m%dT%H%M%SZ}.zip", file, size)


def in_a_process(layout: Layout, site: str, folder: Path) -> Made:
    """`zipped` where it takes no page's turn: hashing a long record is Python's work, for minutes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, os.nice, (_NICE,)) as pool:
        return pool.submit(zipped, layout, site, folder).result()


def zipped(layout: Layout, site: str, folder: Path) -> Made:
    """Export the site's record into `folder` and zip it there. Blocking."""
    made = export(layout, site, folder / site)
    path = folder / "zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted((folder / site).rglob("*")):
            archive.write(each, each.relative_to(folder))
    return Made(path, made.made, made.logs[-1].entries, made.verified)


def export_router(desk: ExportDesk) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/audit/export", include_in_schema=False)
    async def give(request: Request) -> Response:
        site, who = (await form(request)).get("site", ""), visitor_of(request).caller.account
        try:
            made = await desk.make(site, who)
        except PmStackError as error:
            status = 422 if isinstance(error, Rejected) else 503
            return page("refused", status, heading="No export was made", why=str(error), account=who)
        return StreamingResponse(made.chunks(), media_type="application/zip", headers={
            "content-length": str(made.size), "content-disposition": f'attachment; filename="{made.name}"',
        })  # fmt: skip

    return router
