"""Who may call: tokens, certificates and audit keys of the sites, in one SQLite file.

Several processes use it at a time: the service reads, `control-plane site` issues and revokes.
"""

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from shared.errors import Rejected
from shared.schemas import utc_now

TOKEN_BYTES = 24  # random: nobody guesses one of 2^192
TOKEN_CHARS_MAX = 100  # of what somebody shows as one
TOKEN_LIFE = timedelta(hours=24)  # to carry it to the site
BUSY_S = 20.0  # for another process to end its transaction; each takes milliseconds

_TABLES = """
CREATE TABLE IF NOT EXISTS tokens (
  digest TEXT PRIMARY KEY, site TEXT NOT NULL, expires REAL NOT NULL, used REAL) STRICT;
CREATE TABLE IF NOT EXISTS certificates (
  serial TEXT PRIMARY KEY, site TEXT NOT NULL, expires REAL NOT NULL, revoked REAL, why TEXT) STRICT;
CREATE TABLE IF NOT EXISTS sites (
  site TEXT PRIMARY KEY, audit_key TEXT NOT NULL, enrolled REAL NOT NULL) STRICT;
"""


class Standing(NamedTuple):
    """What the register says of a certificate. `revoked` is why, None for one that holds."""

    site: str
    expires: datetime
    revoked: str | None


class SiteRow(NamedTuple):
    """A site as a person asks for it. Times are aware, UTC; `expires` is its newest certificate's."""

    site: str
    state: str
    enrolled: datetime | None
    expires: datetime | None


class Register:
    """The register in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reading: sqlite3.Connection | None = None
        self._version = -1
        self._standings: dict[str, Standing] = {}
        self._audit_keys: dict[str, str] = {}

    # --- tokens ---------------------------------------------------------------------------------

    def issue_token(self, site: str) -> tuple[str, datetime]:
        """A token that enrols the site once, and until when. Only its digest is kept."""
        token, expires = secrets.token_urlsafe(TOKEN_BYTES), utc_now() + TOKEN_LIFE
        with self._writing() as db:
            row = (_digest(token), site, expires.timestamp())
            db.execute("INSERT INTO tokens (digest, site, expires) VALUES (?, ?, ?)", row)
        return token, expires

    def check_token(self, token: str, site: str) -> None:
        """Rejected with the reason unless the token could enrol the site now."""
        with self._writing() as db:
            _require_token(db, token, site)

    def enrol(self, token: str, site: str, audit_key: str, certificate: x509.Certificate) -> None:
        """Spend the token and take the certificate, together; what the site had before holds no more."""
        with self._writing() as db:
            _require_token(db, token, site)
            now = utc_now().timestamp()
            db.execute("UPDATE tokens SET used = ? WHERE digest = ?", (now, _digest(token)))
            _revoke(db, site, "the site was enrolled again")
            _add(db, site, certificate)
            db.execute("REPLACE INTO sites VALUES (?, ?, ?)", (site, audit_key, now))

    # --- certificates ---------------------------------------------------------------------------

    def add(self, site: str, certificate: x509.Certificate) -> None:
        """Take a renewed certificate; the one before holds until it expires, or the site is revoked."""
        with self._writing() as db:
            _add(db, site, certificate)

    def revoke(self, site: str, why: str) -> int:
        """Shut the site out: its certificates and unused tokens hold no more; how many certificates did."""
        with self._writing() as db:
            db.execute("DELETE FROM tokens WHERE site = ? AND used IS NULL", (site,))
            return _revoke(db, site, why)

    def standing(self, serial: int) -> Standing | None:
        """What is known of a certificate; None when it was never issued here."""
        with self._lock:
            self._refresh()
            return self._standings.get(f"{serial:x}")

    def audit_key(self, site: str) -> str | None:
        """The audit key that a site was enrolled with."""
        with self._lock:
            self._refresh()
            return self._audit_keys.get(site)

    def version(self) -> int:
        """Changes when some process has changed the register."""
        with self._lock:
            self._refresh()
            return self._version

    def sites(self) -> list[SiteRow]:
        """Every site with a certificate or an open token."""
        now = utc_now()
        with self._lock:
            self._refresh()
            db = self._connection()
            enrolled = dict(db.execute("SELECT site, enrolled FROM sites").fetchall())
            open_tokens = "SELECT DISTINCT site FROM tokens WHERE used IS NULL AND expires > ?"
            waiting = {site for (site,) in db.execute(open_tokens, (now.timestamp(),))}
            return [
                _row(site, [s for s in self._standings.values() if s.site == site], enrolled.get(site), now)
                for site in sorted(enrolled.keys() | waiting)
            ]

    # --- the file -------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Read the file again when some process has changed it: microseconds when none has."""
        db = self._connection()
        [version] = db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        rows = db.execute("SELECT serial, site, expires, revoked, why FROM certificates").fetchall()
        self._standings = {
            serial: Standing(site, _time(expires), None if revoked is None else (why or "revoked"))
            for serial, site, expires, revoked, why in rows
        }
        self._audit_keys = dict(db.execute("SELECT site, audit_key FROM sites").fetchall())
        self._version = version

    def _connection(self) -> sqlite3.Connection:
        if self._reading is None:
            self._reading = self._open()
        return self._reading

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_TABLES)
        return db

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._reading is not None:
                self._reading.close()
                self._reading, self._version = None, -1

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _require_token(db: sqlite3.Connection, token: str, site: str) -> None:
    row = None
    if 0 < len(token) <= TOKEN_CHARS_MAX:
        found = db.execute("SELECT site, expires, used FROM tokens WHERE digest = ?", (_digest(token),))
        row = found.fetchone()
    if row is None:
        raise Rejected("the token is none of this centre's; `control-plane site token` issues one")
    if row[0] != site:
        raise Rejected("the token is for another site")
    if row[2] is not None:
        raise Rejected(f"the token was used at {_time(row[2]):%Y-%m-%d %H:%M} UTC; each enrols once")
    if row[1] <= utc_now().timestamp():
        raise Rejected(f"the token expired at {_time(row[1]):%Y-%m-%d %H:%M} UTC")


def _add(db: sqlite3.Connection, site: str, certificate: x509.Certificate) -> None:
    row = (f"{certificate.serial_number:x}", site, certificate.not_valid_after_utc.timestamp())
    db.execute("INSERT INTO certificates (serial, site, expires) VALUES (?, ?, ?)", row)
    db.execute("DELETE FROM certificates WHERE site = ? AND expires <= ?", (site, utc_now().timestamp()))


def _revoke(db: sqlite3.Connection, site: str, why: str) -> int:
    found = db.execute(
        "UPDATE certificates SET revoked = ?, why = ? WHERE site = ? AND revoked IS NULL AND expires > ?",
        (utc_now().timestamp(), why, site, utc_now().timestamp()),
    )
    return found.rowcount


def _row(site: str, own: list[Standing], enrolled: float | None, now: datetime) -> SiteRow:
    held = [each for each in own if each.revoked is None]
    newest = max((each.expires for each in held), default=None)
    if not own:
        state = "waits for its agent" if enrolled is None else "expired"
    elif newest is None:
        state = "revoked"
    else:
        state = "enrolled" if newest > now else "expired"
    return SiteRow(site, state, None if enrolled is None else _time(enrolled), newest)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
