"""Who stands behind a certificate that somebody shows, asked at each call and while a stream is open."""

from cryptography import x509

from control_plane.audit.centre_log import CentreAct
from control_plane.enrolment.refusals import Refusals
from control_plane.enrolment.register import Register
from shared.errors import Rejected
from shared.schemas import utc_now
from shared.tls import site_of


class Admission:
    """TLS has checked that the authority signed the certificate; this checks whether it still holds."""

    def __init__(self, register: Register, refusals: Refusals) -> None:
        self._register, self._refusals = register, refusals

    def site(self, certificate: x509.Certificate) -> str:
        """The site that shows the certificate; Rejected with the reason."""
        try:
            site = site_of(certificate)
        except ValueError as error:
            raise Rejected(str(error)) from error
        self.require(site, certificate.serial_number)
        return site

    def require(self, site: str, serial: int) -> None:
        """Rejected with the reason unless the site's certificate holds now."""
        standing = self._register.standing(serial)
        if standing is None or standing.site != site:
            raise Rejected(f"this centre knows no such certificate of {site}; enrol the site again")
        if standing.revoked is not None:
            raise Rejected(f"the certificate of {site} is revoked: {standing.revoked}")
        if standing.expires <= utc_now():
            raise Rejected(f"the certificate of {site} has expired; enrol the site again")

    def version(self) -> int:
        """Changes when a certificate may hold no more."""
        return self._register.version()

    def require_audit_key(self, site: str, audit_key: str) -> None:
        """Rejected unless the site was enrolled with this audit key."""
        if self._register.audit_key(site) != audit_key:
            raise Rejected(
                f"{site} comes with another audit key than it was enrolled with; "
                "if its disk was replaced, enrol it again"
            )

    def refused(self, subject: str, error: Rejected, what: str) -> None:
        """Put a refusal on the record."""
        self._refusals.note(CentreAct.CONNECTION_REFUSED, subject, str(error), at=what)
