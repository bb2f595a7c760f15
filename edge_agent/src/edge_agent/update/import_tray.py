"""Where a courier's folder is laid for the agent: whoever imports copies it here, the agent answers.

Nothing is believed of it because it lies here: the agent reads it as it reads the network.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge_agent.update.release_client import MANIFEST_BYTES_MAX, MODEL_BYTES_MAX
from edge_agent.update.repository import METADATA_BYTES_MAX
from shared.errors import Rejected

FILES_MAX = 5_000  # of both repositories: years of metadata versions
BYTES_MAX = 1024 * 1024 * 1024  # in all: it has to fit beside the outbox
_TARGETS = {"model.onnx": MODEL_BYTES_MAX, "manifest.json": MANIFEST_BYTES_MAX}


class ImportTray:
    """The folder `import` in the agent's data folder, and the answer beside it. One import at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._folder, self._answer = data_dir / "import", data_dir / "import-answer.json"

    # --- who imports ------------------------------------------------------------------------------

    def lay_in(self, source: Path, site: str) -> int:
        """Copy what the agent may need from a folder with both repositories; how many files.

        Rejected when it is no such folder, has too much, or another import waits.
        """
        if self._folder.exists():
            raise Rejected("another import waits for the agent; is the agent running?")
        wanted = list(_wanted(source, site))
        total = sum(path.stat().st_size for path in wanted)
        if len(wanted) > FILES_MAX or total > BYTES_MAX:
            most = f"at most {FILES_MAX} files of {BYTES_MAX >> 20} MiB"
            raise Rejected(f"{source} has {len(wanted)} files of {total >> 20} MiB; {most}")
        fresh = self._folder.with_name("import.new")
        shutil.rmtree(fresh, ignore_errors=True)
        for path in wanted:
            place = fresh / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        self._answer.unlink(missing_ok=True)
        fresh.rename(self._folder)
        return len(wanted)

    def answer(self) -> dict[str, str] | None:
        """What the agent said, by release or under `problem`; None as yet."""
        try:
            found: dict[str, str] = json.loads(self._answer.read_bytes())
        except FileNotFoundError:
            return None
        return found

    def withdraw(self) -> None:
        """Take back what no agent looked at."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- the agent --------------------------------------------------------------------------------

    @property
    def waiting(self) -> Path | None:
        """What has been laid in whole."""
        return self._folder if self._folder.is_dir() else None

    def settle(self, said: dict[str, str]) -> None:
        """Answer, and take the folder away; what cannot be removed is set aside, not imported again."""
        with suppress(OSError):  # a full disk keeps the answer away, and nothing else
            temporary = self._answer.with_suffix(".new")
            temporary.write_text(json.dumps(said))
            temporary.rename(self._answer)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._folder.exists():
            with suppress(OSError):
                self._folder.rename(self._folder.with_name("import.left"))


def _wanted(source: Path, site: str) -> Iterator[Path]:
    """Metadata of both repositories and targets: plain files of these names, no larger than allowed."""
    for name in ("image", f"director/{site}"):
        metadata = source / name / "metadata"
        if not (metadata / "timestamp.json").is_file():
            raise Rejected(
                f"{metadata}/timestamp.json is missing; expected image/ and director/{site}/ there"
            )
        yield from _sound(metadata.glob("*.json"), METADATA_BYTES_MAX)
    for name, limit in _TARGETS.items():
        yield from _sound((source / "image/targets").glob(f"*/*/{name}"), limit)


def _sound(paths: Iterator[Path], limit: int) -> Iterator[Path]:
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise Rejected(f"{path} is no plain file")
        if path.stat().st_size > limit:
            raise Rejected(f"{path} has {path.stat().st_size} bytes; at most {limit}")
        yield path
