"""A token for a certificate, once; then a certificate for the next one."""

from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.enrolment.authority import Authority, parse_request
from control_plane.enrolment.register import Register
from control_plane.release.director import Director
from control_plane.release.image import ImageRepository
from shared.checkpoint import NoteError, parse_verifier_key
from shared.errors import Rejected
from shared.schemas.base import require_site_id


class Granted(NamedTuple):
    """What a site is given: PEM, PEM, and the first roots of both repositories."""

    certificate: str
    authority: str
    image_root: bytes
    director_root: bytes


class Enrolment:
    """Grants or refuses; every grant is on the centre's record. Blocking, milliseconds."""

    def __init__(
        self, authority: Authority, register: Register, repository: Path, centre_log: CentreLog
    ) -> None:
        self._authority, self._register, self._repository = authority, register, repository
        self._log = centre_log

    def token(self, site: str) -> tuple[str, str]:
        """A one-time token for the site, and until when it holds; Rejected for an id that is none."""
        token, expires = self._register.issue_token(require_site_id(site))
        until = f"{expires:%Y-%m-%d %H:%M} UTC"
        self._log.note(CentreAct.SITE_TOKEN_ISSUED, site, expires=until)
        return token, until

    def enrol(self, site: str, token: str, request: str, audit_key: str) -> Granted:
        """A certificate for the site; Rejected with the reason. A refusal leaves the token as it was."""
        self._register.check_token(token, require_site_id(site))
        parsed = parse_request(request)
        _require_audit_key(site, audit_key)
        roots = self._roots(site)
        certificate = self._authority.site_certificate(site, parsed)
        self._register.enrol(token, site, audit_key, certificate)
        self._log.note(
            CentreAct.SITE_ENROLLED, site, serial=f"{certificate.serial_number:x}", audit_key=audit_key
        )
        return Granted(_text(certificate), self._authority.path.read_text(), *roots)

    def renew(self, site: str, shown: x509.Certificate, request: str) -> str:
        """The next certificate in PEM, for the key of the one shown; Rejected for another key."""
        parsed = parse_request(request)
        if parsed.public_key() != shown.public_key():
            raise Rejected("certificate request: renewing keeps the key; a new key needs a new enrolment")
        certificate = self._authority.site_certificate(site, parsed)
        self._register.add(site, certificate)
        self._log.note(CentreAct.CERTIFICATE_RENEWED, site, serial=f"{certificate.serial_number:x}")
        return _text(certificate)

    def revoke(self, site: str, why: str) -> int:
        """Shut a site out; how many of its certificates held."""
        held = self._register.revoke(require_site_id(site), why)
        self._log.note(CentreAct.CERTIFICATE_REVOKED, site, why=why, certificates=held)
        return held

    def _roots(self, site: str) -> tuple[bytes, bytes]:
        image, director = ImageRepository(self._repository).root, Director(self._repository, site).root
        for path, command in ((image, "init"), (director, f"director {site}")):
            if not path.exists():
                raise Rejected(f"nothing for {site} to trust yet; `control-plane release {command}` makes it")
        return image.read_bytes(), director.read_bytes()


def _require_audit_key(site: str, audit_key: str) -> None:
    """Rejected unless it is a key of the site's own log."""
    try:
        name = parse_verifier_key(audit_key).name
    except NoteError as error:
        raise Rejected(f"audit public key: {error}") from error
    if name != f"pm-stack-smr/{site}":
        raise Rejected(f"audit public key: it is named {name}; expected pm-stack-smr/{site}")


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
