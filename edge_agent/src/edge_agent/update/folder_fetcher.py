"""Repositories in a folder, as a courier brings them on a stick: read like a network, verified like one."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

CHUNK_BYTES = 256 * 1024
FOLDER_URL = "folder:"  # nothing is dialled


class FolderFetcher(FetcherInterface):
    """Fetches `folder:/image/metadata/1.root.json` and the like from below `folder`, from nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = (self._folder / unquote(urlsplit(url).path).lstrip("/")).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise DownloadHTTPError(f"{url} is not in {self._folder}", 404)
        return _chunks(path)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:  # a stick that was pulled out
        raise DownloadError(f"{path} cannot be read: {error}") from error
