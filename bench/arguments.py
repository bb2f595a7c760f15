"""What a benchmark without options says of itself."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter


def takes_none(told: str | None) -> None:
    """Answer `--help` with the module's docstring, refuse every argument; exits in both cases."""
    spec = sys.modules["__main__"].__spec__
    name = f"python -m {spec.name}" if spec else None
    ArgumentParser(name, description=told, formatter_class=RawDescriptionHelpFormatter).parse_args()
