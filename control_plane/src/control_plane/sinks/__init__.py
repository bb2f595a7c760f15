"""Where records come to rest: the lake's Delta tables, and InfluxDB, which follows them.

Enters: batches of arrivals, each new by `(store_id, seq)`. Leaves: rows that a query can read.
Never: Kafka, offsets, de-duplication (ingest decides what is new).
"""
