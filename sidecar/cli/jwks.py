"""`usher jwks`: the key set as a file for static hosting, or served from the key store for a public edge."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from sidecar import interrupts
from sidecar.cli import remote
from sidecar.cli.options import add_settings, loaded
from sidecar.cli.remote import Failed
from sidecar.cli.serve import stop_on_signals
from sidecar.config import Config
from sidecar.core.clock import SystemClock
from sidecar.core.errors import SettingsError
from sidecar.core.key_set_check import PRIVATE_MEMBERS
from sidecar.core.publication import MAX_JWKS_BYTES
from sidecar.telemetry.logs import configure

# sidecar.app is imported by the function that serves: it takes longer than all of a client verb's work.


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("jwks", help="write the published key set to a file, or serve it alone")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    export = actions.add_parser("export", help="write the key set of a running sidecar, for static hosting")
    default = f"http://{os.environ.get('USHER_HTTP_ADDRESS') or Config().http_address}/.well-known/jwks.json"
    export.add_argument(
        "--url", default=default, metavar="URL", help=f"where the key set is (default: {default})"
    )
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="the file, replaced whole; without it the set is printed"
    )
    export.set_defaults(run=_export)

    serving = actions.add_parser("serve", help="serve the key set of the shared key store, and nothing else")
    add_settings(serving)
    serving.set_defaults(run=_serve)


def _serve(chosen: argparse.Namespace) -> int:
    config = loaded(chosen)
    configure(config.log_format, config.log_level)
    return interrupts.run(_until_signal(config))


async def _until_signal(config: Config) -> int:
    from sidecar.app import edge

    await edge.serve(config, SystemClock(), stop_on_signals(), lambda addresses: None)
    return 0


def _export(chosen: argparse.Namespace) -> int:
    if not chosen.url.startswith(("http://", "https://")):
        raise SettingsError("--url: give an http:// or https:// URL")
    document = remote.fetched(chosen.url, remote.DEADLINE_SECONDS)
    count = _checked(document, chosen.url)
    if chosen.out is None:
        print(document.decode("ascii"))
        return 0
    with interrupts.unwinding():
        _replace(chosen.out, document)
    print(f"{chosen.out}: {count} key(s), {len(document)} bytes", file=sys.stderr)
    return 0


def _checked(document: bytes, url: str) -> int:
    """The number of keys. Raises Failed for what must not be published in the place of a key set."""
    try:
        text = document.decode("ascii")
        keys = json.loads(text)["keys"]
        private = any(not PRIVATE_MEMBERS.isdisjoint(key) for key in keys)
        named = all(isinstance(key["kid"], str) for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failed(f"{url} holds no JSON Web Key Set; nothing is written") from None
    if not keys or not named:
        raise Failed(f"{url} holds no key that a token could name; nothing is written")
    if private:
        raise Failed(f"{url} holds private keys: whoever may read it can sign; nothing is written")
    if len(document) > MAX_JWKS_BYTES:
        raise Failed(
            f"{url} has {len(document)} bytes, more than the {MAX_JWKS_BYTES} that verifiers read; nothing "
            "is written"
        )
    return len(keys)


def _replace(path: Path, document: bytes) -> None:
    """Puts the document in the place of the file in one step: a server sees the old one or the new one.

    Raises Failed when it cannot be written.
    """
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "wb") as file:
                os.fchmod(number, 0o644)  # the world's to read, whatever the umask
                file.write(document)
                file.flush()
                os.fsync(number)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a crash must not bring the old file back
        finally:
            os.close(folder)
    except OSError as error:
        raise Failed(f"--out: {path} cannot be written: {error.strerror}") from None
