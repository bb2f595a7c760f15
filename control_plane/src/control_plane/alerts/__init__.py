"""The operator's alarm list: what sites and the centre raised, who acknowledged it, who is told.

Enters: alerts' transitions in any order, however often; a person's acknowledgement. Leaves: each alert's
state (ISA-18.2), and notices to a webhook and by e-mail. Never: an alert of its own; a site's own list.
"""
