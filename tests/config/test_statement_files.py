"""The folder of named statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import load_statements
from sidecar.core.errors import SettingsError


def refusal(folder: Path, max_bytes: int = 1000) -> str:
    with pytest.raises(SettingsError) as caught:
        load_statements(folder, max_bytes)
    return str(caught.value)


def test_every_sql_file_is_a_statement(tmp_path: Path) -> None:
    (tmp_path / "b.sql").write_text("-- name: two\nselect 2")
    (tmp_path / "a.sql").write_text("-- name: one\nselect 1")
    (tmp_path / "README.md").write_text("no statement")
    assert load_statements(tmp_path, 1000).names == {"one", "two"}


def test_mistakes_name_their_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == (
        f"statements_dir: {tmp_path}/none cannot be read (No such file or directory)"
    )
    (tmp_path / "a.sql").write_text("-- name: one\nselect 1")
    (tmp_path / "b.sql").write_text("-- name: one\nselect 2")
    assert refusal(tmp_path) == f"{tmp_path}/b.sql: name: {tmp_path}/a.sql has this name, too"
    (tmp_path / "b.sql").write_text("-- name: two\nbegin")
    assert refusal(tmp_path).startswith(f"{tmp_path}/b.sql:2: sql: only SELECT")
    (tmp_path / "b.sql").write_bytes(b"-- name: two\nselect '\xff'")
    assert refusal(tmp_path) == f"{tmp_path}/b.sql: is not UTF-8 text"
    (tmp_path / "b.sql").write_text("-- name: two\nselect " + "1" * 1000)
    assert "is longer than 1000 bytes" in refusal(tmp_path)
    (tmp_path / "b.sql").unlink()
    (tmp_path / "b.sql").mkdir()
    assert refusal(tmp_path) == f"{tmp_path}/b.sql: cannot be read (Is a directory)"
