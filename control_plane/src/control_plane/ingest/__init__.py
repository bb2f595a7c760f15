"""Kafka (or a signed bundle) to the sinks: each record once, offsets committed after the sinks accepted.

Enters: messages of the five topics. Leaves: batches of new arrivals to every sink; dead letters with
origin and reason; the completeness ledger of what arrived. Never: an offset committed for a record that
no sink holds.
"""
