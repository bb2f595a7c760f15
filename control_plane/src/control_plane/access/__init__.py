"""Who may do what at the centre's web: accounts, sessions, API tokens, and the gate before every route.

Enters: each HTTP request and websocket. Leaves: those whose caller holds the permission that `routes.RULES`
asks for, with the caller beside them; a refusal of all others. Never: a password or a token kept as it
was typed, a route that no rule names, an act or a refusal that is not on the centre's record.
"""
