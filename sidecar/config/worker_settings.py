"""The rules of `workers`: where each listens, and its share of what is set for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sidecar.config.addresses import takes_any_port
from sidecar.config.declaring import address
from sidecar.core.errors import SettingsError

if TYPE_CHECKING:
    from sidecar.config.settings import Config

MOST_WORKERS: Final = 64
OWN_ADDRESSES: Final = ("grpc_address", "connect_address")
"""The settings of which every worker has an address of its own; the others have one for all."""


def address_of(text: str, number: int) -> str:
    """Where the worker of a number listens: the first at the address itself, each next one port further, or
    at the socket's path with .1, .2, ... behind it. Port 0 and no address stay what they are."""
    if not text or not number:
        return text
    if text.startswith("unix:"):
        return f"{text}.{number}"
    host, _, port = text.rpartition(":")
    return text if takes_any_port(text) else f"{host}:{int(port) + number}"


def addresses(config: Config, name: str) -> list[str]:
    """Where all workers listen, by one of the settings of addresses."""
    count = config.workers if name in OWN_ADDRESSES else 1
    return [address_of(getattr(config, name), number) for number in range(count)]


def check_worker_settings(config: Config) -> None:
    """Raises SettingsError for workers that would have no address, or no share."""
    if not 1 <= config.workers <= MOST_WORKERS:
        raise SettingsError(f"workers must lie between 1 and {MOST_WORKERS}")
    for name in ("pool_max_size", "max_concurrent_calls", "max_streams"):
        unset = name == "max_streams" and config.max_streams == 0
        if getattr(config, name) < config.workers and not unset:
            raise SettingsError(f"{name} must be at least workers: each worker needs its share")
    for name in OWN_ADDRESSES:
        for number, text in enumerate(addresses(config, name)):
            try:
                _ = text and address(text)
            except ValueError:
                raise SettingsError(
                    f"{name}: the address of worker {number} would be {text}; choose a lower port or a "
                    "shorter path, or fewer workers"
                ) from None


def share(config: Config, number: int, known: Mapping[str, str]) -> Config:
    """The settings of one worker. `known` are addresses, by their settings, that it had before: a port that
    was any stays what it became."""
    count = config.workers
    largest = config.pool_max_size // count
    return replace(
        config,
        workers=1,
        grpc_address=known.get("grpc_address") or address_of(config.grpc_address, number),
        connect_address=known.get("connect_address") or address_of(config.connect_address, number),
        # One is enough: what is asked of it holds for all.
        grpc_admin_address="" if number else known.get("grpc_admin_address") or config.grpc_admin_address,
        pool_min_size=min(largest, -(-config.pool_min_size // count)),
        pool_max_size=largest,
        pool_max_waiting=-(-config.pool_max_waiting // count),
        max_concurrent_calls=config.max_concurrent_calls // count,
        max_streams=config.max_streams // count,
    )
