"""Sites become known, stay known and are shut out: tokens, certificates, revocation.

Enters: a token and a certificate request; a certificate that somebody shows. Leaves: certificates of the
centre's private authority; the site that a certificate stands for, or why it is refused.
Never: a site's private key, a token in clear on the disk, a refusal that is not on the record.
"""
