"""The command line's root: finds the subcommand, and turns errors into exit codes.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import grpc

from sidecar import __version__
from sidecar.cli import database, doctor, health, jwks, keys, policy, query, serve, settings, token
from sidecar.cli.remote import Failed, describe
from sidecar.config import suggestion
from sidecar.core.errors import SettingsError, UsherError


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and says what a misspelt option may have meant, without its value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"allow_abbrev": False} | options))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option ends here, where the known ones are at hand."""
        chosen, unknown = super().parse_known_args(args, namespace)
        for name in (text.partition("=")[0] for text in unknown if text.startswith("--")):
            hint = suggestion(name, self._option_string_actions) or f"; `{self.prog} --help` lists them"
            self.error(f"there is no option {name}{hint}")
        return chosen, unknown

    def _parse_optional(self, arg_string: str) -> Any:
        """As argparse does, but a kid or a parameter may begin with one hyphen: no option of ours does."""
        if re.match(r"-[^-].", arg_string):
            return None
        return super()._parse_optional(arg_string)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Parser(
        prog="usher",
        description="Shows every service to its own rows: short-lived JWTs and SQL under row-level security.",
    )
    root.add_argument("--version", action="version", version=f"usher {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for module in (serve, database, doctor, token, query, keys, jwks, policy, health, settings):
        module.add_to(verbs)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
        return code
    except SettingsError as error:
        return _say(str(error), 2)
    except UnicodeEncodeError:
        return _say("an argument is not UTF-8 text", 2)
    except (UsherError, Failed) as error:
        return _say(str(error), 1)
    except grpc.RpcError as error:
        return _say(describe(error, chosen.address), 1)
    except BrokenPipeError:
        # Python would try to write the rest once more at its end (documentation, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _say(message: str, code: int) -> int:
    print(f"usher: {message}", file=sys.stderr)
    return code
