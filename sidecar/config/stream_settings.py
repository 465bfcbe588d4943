"""The settings of streams: the rules that bind them, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.errors import SettingsError
from sidecar.core.streams import StreamSettings

if TYPE_CHECKING:
    from sidecar.config.settings import Config


def check_stream_settings(config: Config) -> None:
    """Raises SettingsError for settings that cannot be, or contradict each other."""
    if config.max_stream_deadline <= 0:
        raise SettingsError("max_stream_deadline must be positive")
    # Of each worker; one process is one.
    streams, connections = (whole // config.workers for whole in (config.max_streams, config.pool_max_size))
    if streams >= connections > 1:
        raise SettingsError(
            "max_streams must be less than pool_max_size, in each of the workers, too: each holds a "
            "connection, and queries need one"
        )


def stream_settings(config: Config) -> StreamSettings:
    """The streams' share."""
    return StreamSettings(
        max_rows=config.stream_max_rows, max_streams=config.max_streams or max(1, config.pool_max_size // 2)
    )
