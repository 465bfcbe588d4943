"""The folder of named statements: every .sql file is one. Read once, at start."""

from __future__ import annotations

from pathlib import Path

from sidecar.core.errors import SettingsError
from sidecar.core.statements import Catalog, NamedStatement, parse


def load_statements(folder: Path, max_bytes: int) -> Catalog:
    """Every statement of a folder. Raises SettingsError as `file:line: what is wrong`."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".sql")
    except OSError as error:
        raise SettingsError(f"statements_dir: {folder} cannot be read ({error.strerror})") from None
    found: dict[str, tuple[Path, NamedStatement]] = {}
    for path in files:
        statement = parse(_text(path, max_bytes), str(path), max_bytes)
        if statement.name in found:
            raise SettingsError(f"{path}: name: {found[statement.name][0]} has this name, too")
        found[statement.name] = path, statement
    return Catalog(statement for _, statement in found.values())


def _text(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            # One byte more shows that the text is too long; the parser says so.
            return file.read(max_bytes + 1).decode("utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text") from None
