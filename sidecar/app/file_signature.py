"""Whether a file is another than before, without reading it."""

from __future__ import annotations

import os
from pathlib import Path

Signature = tuple[int, int, int, int] | None
"""None for a file that is not there."""


def signature_of(path: Path) -> Signature:
    """What changes when the file does; None when it is not there. Follows links, as a ConfigMap has them."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
