"""What tests of a file, or of several, share: a browser, and the folder in which the demo runs once."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As after a clone and an installation: the demo writes `.demo` beside the configuration."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("reactor_config.yaml", "Makefile"):
        shutil.copy(ROOT / name, folder)
    os.symlink(sys.prefix, folder / ".venv")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[None]:
    """One browser for every page of a file."""
    with browser():
        yield
