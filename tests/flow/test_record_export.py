"""An inspector's export over the web: the command's own, on the centre's record, and nobody waits for it."""

import asyncio
import hashlib
import io
import shutil
import threading
import zipfile

import pytest

from control_plane.api.record_export import ExportDesk, zipped
from control_plane.audit.centre_log import CentreAct
from control_plane.audit.export import export
from control_plane.layout import Layout
from shared.errors import Rejected, Retryable
from tests.support.audited_centre import SITE, AuditedCentre


@pytest.fixture
def layout(tmp_path):
    centre = AuditedCentre(tmp_path / "centre")
    centre.more(8)
    centre.look()
    return centre.layout


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_the_zip_is_what_the_command_writes_and_is_on_the_centres_record(layout, tmp_path):
    """File by file; the record has who took it and the digest of what they took; nothing is left behind."""
    before = set(layout.data_dir.iterdir())
    made = await ExportDesk(layout).make(SITE, "an inspector")
    given = b"".join(made.chunks())
    assert len(given) == made.size
    with zipfile.ZipFile(io.BytesIO(given)) as archive:
        archive.extractall(tmp_path / "taken")
    told = export(layout, SITE, tmp_path / "told")
    assert names(tmp_path / "taken" / SITE) == names(tmp_path / "told")
    *_, entry = layout.centre_log().entries()
    assert (entry.act, entry.subject) == (CentreAct.RECORD_EXPORTED, SITE)
    assert entry.detail == {
        "by": "an inspector",
        "entries": 8,
        "verified": told.verified,
        "sha256": hashlib.sha256(given).hexdigest(),
    }
    assert {path.name for path in set(layout.data_dir.iterdir()) - before} <= {"centre_log"}


async def test_the_loop_goes_on_while_one_is_made_and_a_second_is_told_to_wait(layout):
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert go_on.wait(60)
        return zipped(*arguments)

    desk = ExportDesk(layout, slow)
    first = asyncio.create_task(desk.make(SITE, "an inspector"))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    with pytest.raises(Retryable, match="another export is being made"):
        await desk.make(SITE, "another")
    go_on.set()
    (await first).file.close()


@pytest.mark.parametrize("site", ["ID01", "../centre", "centre", "inference", ""])
async def test_what_is_no_site_with_a_record_is_refused_with_what_there_is(layout, site):
    for own in ("centre", "inference"):  # co-signed too, and no site's
        shutil.copytree(layout.tiles / SITE, layout.tiles / own)
    with pytest.raises(Rejected, match=f"there is a co-signed record of {SITE}$"):
        await ExportDesk(layout, zipped).make(site, "an inspector")


async def test_what_a_crash_left_goes_with_the_next(layout):
    left = layout.data_dir / ".export-of-a-crash"
    shutil.copytree(layout.tiles, left)
    (await ExportDesk(layout, zipped).make(SITE, "an inspector")).file.close()
    assert not left.exists()


def test_a_centre_without_a_record_has_nothing_to_export(tmp_path):
    assert ExportDesk(Layout(tmp_path)).sites() == []
