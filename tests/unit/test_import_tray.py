"""A courier's folder on its way to the agent: what is copied, what is refused, and read from nowhere else."""

from datetime import timedelta

import pytest
from pydantic import ValidationError
from tuf.api.exceptions import DownloadHTTPError

from edge_agent.update import FOLDER_URL, FolderFetcher, Hold, ImportTray
from shared.errors import Rejected
from shared.schemas import utc_now

SITE = "TX01"


@pytest.fixture
def stick(tmp_path):
    folder = tmp_path / "stick"
    for name in ("image", f"director/{SITE}"):
        (folder / name / "metadata").mkdir(parents=True)
        (folder / name / "metadata/timestamp.json").write_text("{}")
    (folder / "image/targets/pump/1").mkdir(parents=True)
    (folder / "image/targets/pump/1/model.onnx").write_bytes(b"model")
    return folder


def test_what_an_agent_may_need_is_copied_and_nothing_else(stick, tmp_path):
    (stick / "image/targets/pump/1/virus.exe").write_bytes(b"x")
    (stick / "director/ID01/metadata").mkdir(parents=True)
    (stick / "director/ID01/metadata/timestamp.json").write_text("{}")
    tray = ImportTray(tmp_path / "data")
    assert tray.lay_in(stick, SITE) == 3
    folder = tray.waiting
    assert folder is not None
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "director/TX01/metadata/timestamp.json",
        "image/metadata/timestamp.json",
        "image/targets/pump/1/model.onnx",
    ]


def test_one_import_at_a_time_and_its_answer_ends_it(stick, tmp_path):
    tray = ImportTray(tmp_path / "data")
    tray.lay_in(stick, SITE)
    with pytest.raises(Rejected, match="another import waits"):
        tray.lay_in(stick, SITE)
    tray.settle({"r1": "runs: pump/1"})
    assert (tray.waiting, tray.answer()) == (None, {"r1": "runs: pump/1"})
    tray.lay_in(stick, SITE)
    assert tray.answer() is None  # not the one of before


def test_links_and_oversized_files_are_refused(stick, tmp_path):
    """A link could bring in any file that the agent's user can read; a huge one fill its disk."""
    tray = ImportTray(tmp_path / "data")
    link = stick / "image/metadata/root.json"
    link.symlink_to("/etc/hostname")
    with pytest.raises(Rejected, match="is no plain file"):
        tray.lay_in(stick, SITE)
    link.unlink()
    with link.open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    with pytest.raises(Rejected, match="at most 1048576"):
        tray.lay_in(stick, SITE)
    assert tray.waiting is None


def test_a_folder_without_both_repositories_is_refused(stick, tmp_path):
    with pytest.raises(Rejected, match=r"director/ID01/metadata/timestamp\.json is missing"):
        ImportTray(tmp_path / "data").lay_in(stick, "ID01")


def test_nothing_outside_the_folder_is_fetched(stick, tmp_path):
    (tmp_path / "secret.json").write_text("secret")
    (stick / "image/metadata/2.root.json").symlink_to(tmp_path / "secret.json")
    fetcher = FolderFetcher(stick)
    assert fetcher.download_bytes(f"{FOLDER_URL}/image/targets/pump/1/model.onnx", 100) == b"model"
    for path in (
        "../secret.json",
        "image/../../secret.json",
        "%2e%2e/secret.json",
        "image/metadata/2.root.json",
    ):
        with pytest.raises(DownloadHTTPError):
            fetcher.download_bytes(f"{FOLDER_URL}/{path}", 100)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=-1), timedelta(days=32)])
def test_a_hold_is_for_a_time_to_come_and_not_for_ever(ahead):
    now = utc_now()
    with pytest.raises(ValidationError, match="31 days at most"):
        Hold(until=now + ahead, since=now, operator="A. Reyes", reason="outage")
