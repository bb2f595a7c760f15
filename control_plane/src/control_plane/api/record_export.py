"""`/audit/export`: a site's record for an inspector as one zip, what `control-plane audit export` writes.

One is made at a time, in a thread. It is on the centre's record, with the zip's SHA-256, before a byte
leaves.
"""

import asyncio
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from control_plane.access.pages import page
from control_plane.access.sign_in_routes import form
from control_plane.access.visitor import visitor_of
from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.audit.centre_log import CentreAct
from control_plane.audit.export import Export, export
from control_plane.audit.inference_log import INFERENCE_LOG
from control_plane.audit.tiles import TileStore
from control_plane.layout import Layout
from shared.errors import PmStackError, Rejected, Retryable

_PREFIX = ".export-"  # of the folder in which one is made; one that a crash left goes with the next
_CHUNK_BYTES = 1 << 16


class Zipped(NamedTuple):
    """An open file that has no name any more: it ends with whoever reads it."""

    name: str
    file: BufferedRandom
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes, then the end of the file."""
        with self.file as file:
            while found := file.read(_CHUNK_BYTES):
                yield found


class ExportDesk:
    """Makes exports of one centre's record."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._turn = asyncio.Lock()

    def sites(self) -> list[str]:
        """Whose record can be exported: something of it has been co-signed. Blocking."""
        folders = self._layout.tiles.iterdir() if self._layout.tiles.is_dir() else ()
        return sorted(
            each.name for each in folders if each.name != INFERENCE_LOG and TileStore(each).checkpoint()
        )

    async def make(self, site: str, who: str) -> Zipped:
        """Rejected for a site without a record, Retryable while another is made or there is no reading."""
        if self._turn.locked():
            raise Retryable("another export is being made; ask again when it has ended")
        async with self._turn:
            try:
                return await asyncio.to_thread(self._make, site, who)
            except LAKE_ERRORS as error:
                raise Retryable(f"the record cannot be read: {error}") from error

    def _make(self, site: str, who: str) -> Zipped:
        if site not in (known := self.sites()):
            raise Rejected(
                f"found the site {site!r}; there is a co-signed record of {', '.join(known) or 'none'}"
            )
        home = self._layout.data_dir  # and not /tmp, which may be memory
        for left in home.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=_PREFIX) as folder:
            made = export(self._layout, site, Path(folder) / site)
            zipped = _zip(Path(folder), made)
        told: dict[str, str | int] = {"by": who, "entries": made.logs[-1].entries, "verified": made.verified}
        digest = hashlib.file_digest(zipped.file, "sha256").hexdigest()
        self._layout.centre_log().note(CentreAct.RECORD_EXPORTED, site, **told, sha256=digest)
        zipped.file.seek(0)
        return zipped


def _zip(folder: Path, made: Export) -> Zipped:
    file = (folder / "zip").open("w+b")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / made.site).rglob("*")):
            archive.write(path, path.relative_to(folder))
    size = file.tell()
    file.seek(0)
    return Zipped(f"record-{made.site}-{made.made:%Y%m%dT%H%M%SZ}.zip", file, size)


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
