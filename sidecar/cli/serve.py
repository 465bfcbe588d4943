"""`usher serve` and `usher dev`: run the sidecar."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sidecar import interrupts
from sidecar.cli.options import add_settings, loaded
from sidecar.config import Config
from sidecar.config.key_settings import missing_key_settings
from sidecar.core.clock import SystemClock
from sidecar.core.errors import SettingsError
from sidecar.telemetry.logs import configure

if TYPE_CHECKING:
    from sidecar.app.serving import Addresses

# sidecar.app is imported by the functions that serve: it takes longer than all of a client verb's work.

_QUERY: Final = '"select * from users"'


def add_to(verbs: Any) -> None:
    """Adds the verbs."""
    serving = verbs.add_parser("serve", help="run the sidecar on an existing database")
    add_settings(serving)
    serving.set_defaults(run=_serve)
    dev = verbs.add_parser("dev", help="run the sidecar on an embedded PostgreSQL with the demo in it")
    add_settings(dev)
    dev.set_defaults(run=_dev)


def _serve(chosen: argparse.Namespace) -> int:
    config = loaded(chosen)
    if missing := missing_settings(config):
        raise SettingsError(missing)
    configure(config.log_format, config.log_level)
    return _run(_until_signal(config, lambda addresses: None), config)


def missing_settings(config: Config) -> str:
    """What `usher serve` cannot do without; "" when nothing is missing."""
    if not config.database_url:
        return (
            "database_url: name your database, best as USHER_DATABASE_URL; `usher dev` brings one of its own"
        )
    if not config.claim_key and config.database_backend not in ("pg_session_jwt", "neon-http"):
        return (
            "claim_key: give what `usher db install --logins` printed, as USHER_CLAIM_KEY or in a file; only "
            "database_backend=pg_session_jwt needs none"
        )
    return missing_key_settings(config)


def _dev(chosen: argparse.Namespace) -> int:
    config = _dev_config(chosen)
    if config.database_url:
        raise SettingsError("database_url: `usher dev` brings its own database; use `usher serve` for yours")
    configure(config.log_format, config.log_level)
    return _run(_dev_until_signal(config), config)


def _run(serving: Coroutine[Any, Any, int], config: Config) -> int:
    from sidecar.app import event_loop

    with interrupts.unwinding():
        return event_loop.run(serving, config.event_loop)


def _dev_config(chosen: argparse.Namespace) -> Config:
    """The settings, with the admin socket in the data folder unless another address is given."""
    data_dir = loaded(chosen).dev_data_dir
    # As relative as the folder is: a socket's path has at most 108 bytes.
    return loaded(chosen, grpc_admin_address=f"unix:{data_dir}/admin.sock")


async def _dev_until_signal(config: Config) -> int:
    from sidecar.app import demo

    stop, reload = stop_on_signals(), _reload_on_hangup()
    async with demo.database(config, _progress) as made:
        if stop.is_set():
            return 0
        config = replace(config, database_url=made.url, database_logins=made.logins, claim_key=made.claim_key)
        ended = asyncio.ensure_future(made.ended())
        # Nobody but us starts it again: without it there is nothing to serve.
        ended.add_done_callback(lambda _: stop.set())
        await _serve_by(config)(
            config, SystemClock(), stop, lambda addresses: print(_welcome(addresses), flush=True), reload
        )
        if not ended.done():
            ended.cancel()
            return 0
        _progress(f"{ended.result()}\nstart `usher dev` again")
    return 1


async def _until_signal(config: Config, started: Callable[[Addresses], None]) -> int:
    await _serve_by(config)(config, SystemClock(), stop_on_signals(), started, _reload_on_hangup())
    return 0


def _serve_by(config: Config) -> Callable[..., Coroutine[Any, Any, None]]:
    """One process, or a supervisor of several."""
    from sidecar.app import serving, workers

    return serving.serve if config.workers == 1 else workers.serve


def stop_on_signals() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _reload_on_hangup() -> asyncio.Event:
    """An event that each SIGHUP sets."""
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    return reload


def _progress(text: str) -> None:
    print(f"usher: {text}", file=sys.stderr, flush=True)


def _welcome(addresses: Addresses) -> str:
    usher = _command()
    first = addresses.grpc.partition(",")[0]
    at = "" if first == Config().grpc_address else f" --address {first}"
    connect = "".join(f"\n  Connect      http://{each}" for each in addresses.connect.split(",") if each)
    jwks = f"http://{addresses.http}/.well-known/jwks.json"
    return f"""
Usher is ready. Ctrl-C stops it and its database.

  gRPC         {addresses.grpc}{connect}
  public HTTP  http://{addresses.http}  (/.well-known/jwks.json, /.well-known/openid-configuration)
  admin HTTP   http://{addresses.admin_http}  (/metrics, /livez, /readyz)

  tenants      acme (users alice and bob), globex (users carol and dave)

Paste these into a second terminal in this folder:

  TOKEN=$({usher} token issue{at} --sub alice --claim tenant_id=acme)
  {usher} token verify --jwks {jwks} "$TOKEN"
  {usher} query{at} --token "$TOKEN" {_QUERY}
  {usher} query{at} --sub carol --claim tenant_id=globex {_QUERY}
"""


def _command() -> str:
    """How this command was called, as short as it can be pasted in this folder."""
    called = sys.argv[0]
    with contextlib.suppress(ValueError):
        shorter = os.path.relpath(called)
        if not shorter.startswith("..") and os.sep in shorter:
            called = shorter
    return shlex.quote(called)
