"""The centre: trains, registers, signs and rolls out models; keeps history and audit trail."""

__version__ = "0.1.0"
