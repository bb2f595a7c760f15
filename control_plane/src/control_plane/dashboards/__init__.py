"""What Grafana needs of the centre at run time: the exported dashboards, and a simulated plant's faults.

Enters: a plant's ledger. Leaves: the JSON for a manual import, points in InfluxDB. The dashboards themselves
are generated (`make dashboards`, the folder `dashboards/` of the repository) and lie here as they were made.
"""
