"""Every query of every dashboard, asked of a real InfluxDB and a real Prometheus, and compared with the lake.

Enters: the generated files, a simulated day. Leaves: what failed, and why. Never: Grafana itself, which is
not to be had here; its macros and variables are put in as it does (`macros.py`).
"""
