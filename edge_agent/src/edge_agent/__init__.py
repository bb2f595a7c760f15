"""One site's daemon: polls the plant read-only, scores locally, loses no reading (see `app.py`)."""

__version__ = "0.1.0"
