"""The centre: trains, registers, signs and rolls out models; keeps history and audit trail."""

from shared import __version__ as __version__
