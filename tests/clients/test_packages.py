"""The counting of lines, the list of what is left out, and packages for every language."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.clients.packages import PACKAGES, code_lines, go
from tests.clients.runners import LANGUAGES, left_out
from tests.clients.test_smoke import toolchain


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a\n\nb\n", 2),
        ('"""A docstring\nof two lines."""\n\nx = 1  # why\n# why\n', 1),
        ("/* a\n b */\n// c\nint x;\n\t// d\n", 1),
        ("#[derive(Debug)]\nstruct A;\n", 2),
    ],
)
def test_code_is_counted_without_comments(text: str, count: int) -> None:
    assert code_lines(text) == count


def test_every_language_has_a_package_and_lines() -> None:
    assert set(PACKAGES) == {language.name for language in LANGUAGES}
    for name, package in PACKAGES.items():
        every, code = package.lines(name)
        assert every > code > 300, name


def test_the_go_module_holds_the_client_and_not_its_tools(tmp_path: Path) -> None:
    names = {name.partition("@v0.1.0/")[2] for name in zipfile.ZipFile(go(tmp_path)).namelist()}
    assert {"go.mod", "LICENSE", "README.md", "usher/client.go", "usher/v1/values.pb.go"} <= names
    assert not any(name.startswith("tools/") for name in names)


def test_a_missing_toolchain_is_said_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert left_out() == [
        f"LEFT OUT: {name}, for `{program}` is not installed"
        for name, program in (("go", "go"), ("typescript", "node"), ("java", "java"), ("rust", "cargo"))
    ]
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        toolchain("go")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI=true"):
        toolchain("go")
