"""Data folders for servers of the tests' own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.embedded.place import LINK
from tests.servers import temporary_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that is not there yet, in a folder that every account may enter."""
    above = temporary_folder()
    yield above / "data"
    remove(above / "data")
    shutil.rmtree(above)


@pytest.fixture
def closed_data_dir() -> Iterator[Path]:
    """A data folder that is not there yet, in a folder that other accounts may not enter."""
    above = temporary_folder()
    above.chmod(0o700)
    yield above / "data"
    remove(above / "data")
    shutil.rmtree(above)


def remove(data_dir: Path) -> None:
    """What `make clean` does."""
    if (data_dir / LINK).is_symlink():
        shutil.rmtree((data_dir / LINK).readlink(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)
