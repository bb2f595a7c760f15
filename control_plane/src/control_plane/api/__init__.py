"""The read model of the fleet, and the JSON API over it.

Enters: the lake's tables, the fleet's configuration, a clock. Leaves: frozen views (a fleet, a component,
its history, alerts, health, audited predictions, model cards) and FastAPI routers that serve them. Never:
writes, Kafka, HTML, and never an old number in the place of a current one.
"""
