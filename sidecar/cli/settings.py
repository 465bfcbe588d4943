"""`usher settings`: every setting with its default, and what is in force."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from sidecar.cli.options import add_settings, loaded
from sidecar.config import DECLARED, Config


def add_to(verbs: Any) -> None:
    """Adds the verb."""
    parser = verbs.add_parser("settings", help="list the settings; check those in force")
    add_settings(parser)
    parser.set_defaults(run=_settings)


def _settings(chosen: argparse.Namespace) -> int:
    config = loaded(chosen)
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        shown = "(set)" if DECLARED[field.name].secret and value else repr(value)
        mark = "" if value == field.default else "   changed"
        print(f"{field.name} = {shown}{mark}\n    {DECLARED[field.name].help}")
    return 0
