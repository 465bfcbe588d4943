"""Where settings come from: file, environment and command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sidecar.config.settings import DECLARED, Config
from sidecar.core.errors import SettingsError

ENV_PREFIX: Final = "USHER_"
RESERVED_ENV: Final = frozenset({"USHER_CONFIG", "USHER_ADMIN_DATABASE_URL", "USHER_KEY", "USHER_ADDRESS"})
"""Variables with the prefix that are not settings: the settings file, what `usher db` connects to, and the
bearer key and the address that clients use."""


def load(
    environment: Mapping[str, str], arguments: Mapping[str, str], file: Path | None, **defaults: Any
) -> Config:
    """The settings from all sources, checked; `defaults` replaces declared ones for a mode of use.

    Raises SettingsError naming the source, the setting and the remedy; a secret's value is never repeated.
    """
    config, wrong = collect(environment, arguments, file, **defaults)
    if wrong:
        raise SettingsError(wrong[0])
    return config


def collect(
    environment: Mapping[str, str], arguments: Mapping[str, str], file: Path | None, **defaults: Any
) -> tuple[Config, list[str]]:
    """As `load`, but what is wrong is left out and told, each in a text of its own."""
    values: dict[str, Any] = dict(defaults)
    given: list[tuple[str, str, str]] = []
    wrong: list[str] = []
    if file is not None:
        try:
            given += [(name, value, f"{file}") for name, value in _from_file(file).items()]
        except SettingsError as error:
            wrong.append(str(error))
    for variable, name in _named_in(environment):
        given.append((name, environment[variable], f"environment variable {variable}"))
    for name, value in arguments.items():
        given.append((name, value, f"option --{name.replace('_', '-')}"))
    for name, value, source in given:
        try:
            values[name] = _parsed(name, value, source)
        except SettingsError as error:
            wrong.append(str(error))
    try:
        for secret in ("claim_key", "key_encryption_key"):
            if path := values.get(f"{secret}_file"):
                if values.get(secret):
                    raise SettingsError(f"{secret} and {secret}_file: give one of them")
                values[secret] = _text_of(f"{secret}_file", Path(path))
        config = Config(**values)
        if not wrong:  # a default in the place of what is wrong contradicts anything
            config.validate()
    except SettingsError as error:
        wrong.append(str(error))
    return Config(**values), wrong


def check_names(environment: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable that is neither a setting nor one of a client's: a misspelt one."""
    for variable, name in _named_in(environment):
        if name not in DECLARED:
            known = (*RESERVED_ENV, *(f"{ENV_PREFIX}{setting.upper()}" for setting in DECLARED))
            hint = suggestion(variable, known) or "; `usher settings` lists the settings"
            raise SettingsError(f"environment variable {variable}: nothing has this name{hint}")


def _named_in(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variables that should be settings, with the settings' names."""
    return [
        (variable, name)
        for variable in environment
        if variable.startswith(ENV_PREFIX) and variable not in RESERVED_ENV
        # Test switches share the prefix; they are no settings.
        if not (name := variable.removeprefix(ENV_PREFIX).lower()).startswith("test_")
    ]


def _text_of(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{name}: {path} cannot be read ({reason})") from None


def _from_file(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None
    for name, value in table.items():
        if name in DECLARED and not isinstance(value, str | bool | int | float):
            raise SettingsError(f"{path}: {name} must be a text, a number, true or false")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in table.items()
    }


def suggestion(name: str, known: Iterable[str]) -> str:
    """What a misspelt name may have meant, as the end of a message; empty for no idea."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parsed(name: str, value: str, source: str) -> Any:
    declared = DECLARED.get(name)
    if declared is None:
        hint = suggestion(name, DECLARED) or "; `usher serve --help` lists them"
        raise SettingsError(f"{source}: there is no setting {name}{hint}")
    try:
        return declared.parse(value)
    except ValueError as error:
        shown = "the value" if declared.secret else repr(value)
        raise SettingsError(f"{source}: {shown} does not fit {name}; expected {error}") from None
