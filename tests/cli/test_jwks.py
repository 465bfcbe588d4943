"""`usher jwks export`: whole files or none, and nothing but public keys."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sidecar.cli import jwks
from sidecar.core.publication import MAX_JWKS_BYTES
from tests.cli.conftest import Usher, publishing

SET = b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"one","alg":"ES256"}]}'
OLD = b'{"keys":[{"kty":"EC","kid":"old"}]}'


def test_it_prints_the_set_as_it_is_served(usher: Usher) -> None:
    with publishing(SET) as url:
        done = usher("jwks", "export", "--url", url)
    assert (done.code, done.out, done.err) == (0, SET.decode() + "\n", "")


def test_it_replaces_a_file_whole_and_leaves_no_other(usher: Usher, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(OLD)
    before = file.stat().st_ino
    umask = os.umask(0o077)
    try:
        with publishing(SET) as url:
            done = usher("jwks", "export", "--url", url, "--out", str(file))
    finally:
        os.umask(umask)
    assert (done.code, done.out, done.err) == (0, "", f"{file}: 1 key(s), {len(SET)} bytes\n")
    assert file.read_bytes() == SET
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_ino != before  # whoever had it open still reads the old one to its end
    assert os.listdir(tmp_path) == ["jwks.json"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"keys":[]}', "holds no key that a token could name"),
        (b'{"keys":[{"kty":"EC"}]}', "holds no JSON Web Key Set"),
        (b'{"keys":[{"kty":"EC","kid":1}]}', "holds no key that a token could name"),
        (b'{"keys":{}}', "holds no key that a token could name"),
        (b"[]", "holds no JSON Web Key Set"),
        (b"<html>", "holds no JSON Web Key Set"),
        (b'{"keys":["x"]}', "holds no JSON Web Key Set"),
        (b'{"keys":[{"kid":"\xff"}]}', "holds no JSON Web Key Set"),
        (b"[" * 100_000, "holds no JSON Web Key Set"),
        (b'{"keys":[{"kty":"EC","kid":"one","d":"AA"}]}', "holds private keys"),
        (b'{"keys":[{"kty":"oct","kid":"one","k":"AA"}]}', "holds private keys"),
        (SET + b" " * MAX_JWKS_BYTES, f"more than the {MAX_JWKS_BYTES} that verifiers read"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_is_no_public_key_set_takes_no_file_s_place(
    usher: Usher, tmp_path: Path, document: bytes, said: str
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(OLD)
    with publishing(document) as url:
        done = usher("jwks", "export", "--url", url, "--out", str(file))
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert done.err.endswith("; nothing is written\n")
    assert file.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["jwks.json"]


def test_a_server_that_refuses_or_is_not_there(usher: Usher, tmp_path: Path) -> None:
    with publishing(SET, status=503) as url:
        done = usher("jwks", "export", "--url", url, "--out", str(tmp_path / "x"))
    assert done.code == 1
    assert "cannot be fetched" in done.err
    done = usher("jwks", "export", "--url", url)
    assert (done.code, done.out) == (1, "")
    assert "is `usher serve` running there?" in done.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/.well-known/jwks.json"])
def test_what_is_no_url(usher: Usher, url: str) -> None:
    done = usher("jwks", "export", "--url", url)
    assert (done.code, done.err) == (2, "usher: --url: give an http:// or https:// URL\n")


def test_a_folder_that_is_not_there(usher: Usher, tmp_path: Path) -> None:
    with publishing(SET) as url:
        done = usher("jwks", "export", "--url", url, "--out", str(tmp_path / "none" / "jwks.json"))
    assert done.code == 1
    assert "cannot be written: No such file or directory" in done.err


def test_a_write_that_fails_half_way_leaves_the_old_file(
    usher: Usher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(OLD)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jwks.os, "fsync", full)
    with publishing(SET) as url:
        done = usher("jwks", "export", "--url", url, "--out", str(file))
    assert (done.code, done.err) == (1, f"usher: --out: {file} cannot be written: No space left on device\n")
    assert (file.read_bytes(), os.listdir(tmp_path)) == (OLD, ["jwks.json"])


def test_the_default_is_the_address_of_the_settings(usher: Usher, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(SET) as url:
        monkeypatch.setenv("USHER_HTTP_ADDRESS", url.split("/")[2])
        assert json.loads(usher("jwks", "export").out) == json.loads(SET)
