"""The directors' online keys in a folder, as `director-<site>.pem`; each is opened when first needed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from securesystemslib.signer import Signer

from control_plane.release.keys import load_signer

PREFIX = "director-"


class DirectorKeys(Mapping[str, Signer]):
    """Signers by site. A site that is enrolled while the centre runs is found at the next look."""

    def __init__(self, folder: Path, passphrase: str, prefix: str = PREFIX) -> None:
        self._folder, self._passphrase, self._prefix = folder, passphrase, prefix
        self._open: dict[str, Signer] = {}

    @property
    def by_name(self) -> "DirectorKeys":
        """The folder's keys as renewal asks for them: `online`, `director-<site>`."""
        return DirectorKeys(self._folder, self._passphrase, "")

    def __getitem__(self, site: str) -> Signer:
        if site not in self._open:
            path = self._path(site)
            if not path.exists():
                raise KeyError(site)
            self._open[site] = load_signer(path, self._passphrase)
        return self._open[site]

    def __contains__(self, site: object) -> bool:
        return isinstance(site, str) and self._path(site).exists()  # without opening it: that takes long

    def __iter__(self) -> Iterator[str]:
        return (
            path.stem.removeprefix(self._prefix) for path in sorted(self._folder.glob(f"{self._prefix}*.pem"))
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, site: str) -> Path:
        return self._folder / f"{self._prefix}{site}.pem"
