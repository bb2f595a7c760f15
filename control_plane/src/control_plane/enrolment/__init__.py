"""Sites become known, stay known and are shut out: tokens, certificates, revocation.

Enters: a token and a certificate request; a certificate that somebody shows. Leaves: certificates of the
centre's private authority; the site that a certificate stands for, or why it is refused.
Never: a site's private key, a token in clear on the disk, a refusal that is not on the record.
"""

from control_plane.enrolment.admission import Admission
from control_plane.enrolment.authority import Authority
from control_plane.enrolment.enrolment import Enrolment, Granted
from control_plane.enrolment.refusals import Refusals
from control_plane.enrolment.register import Register, SiteRow

__all__ = ["Admission", "Authority", "Enrolment", "Granted", "Refusals", "Register", "SiteRow"]
