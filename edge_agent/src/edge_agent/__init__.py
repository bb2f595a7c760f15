"""One site's daemon: polls the plant read-only, scores locally, loses no reading (see `app.py`)."""

from shared import __version__ as __version__
