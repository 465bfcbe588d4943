"""Settings on the command line: one option each, made from its declaration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from sidecar.config import DECLARED, Config, collect, load


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds --config and an option for every setting."""
    parser.usage = "%(prog)s [--config FILE] [--SETTING VALUE ...]"
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of settings (or the variable USHER_CONFIG)"
    )
    group = parser.add_argument_group(
        "settings", "each also as USHER_NAME in the environment and in the file"
    )
    for name, declared in DECLARED.items():
        option = "--" + name.replace("_", "-")
        help = declared.help.replace("%", "%%")
        if isinstance(getattr(Config(), name), bool):
            group.add_argument(
                option, dest=f"set_{name}", nargs="?", const="true", metavar="true|false", help=help
            )
        else:
            group.add_argument(option, dest=f"set_{name}", metavar="VALUE", help=help)


def loaded(chosen: argparse.Namespace, **defaults: Any) -> Config:
    """The settings from all sources. Raises SettingsError."""
    file, given = _sources(chosen)
    return load(os.environ, given, file, **defaults)


def collected(chosen: argparse.Namespace) -> tuple[Config, list[str]]:
    """The settings as far as they can be had, and all that is wrong with them."""
    file, given = _sources(chosen)
    return collect(os.environ, given, file)


def _sources(chosen: argparse.Namespace) -> tuple[Path | None, dict[str, str]]:
    file = chosen.config or (Path(os.environ["USHER_CONFIG"]) if os.environ.get("USHER_CONFIG") else None)
    given = {name: value for name in DECLARED if (value := getattr(chosen, f"set_{name}")) is not None}
    return file, given
