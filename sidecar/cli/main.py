"""The command line's root: finds the subcommand, and turns errors into exit codes.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import grpc
import usher
from usher.errors import from_grpc

from sidecar import __version__, interrupts
from sidecar.cli import (
    completion,
    database,
    doctor,
    health,
    jwks,
    keys,
    policy,
    query,
    serve,
    settings,
    status,
    token,
    transaction,
)
from sidecar.cli.remote import Failed, describe
from sidecar.config import suggestion
from sidecar.core.errors import SettingsError, UsherError

_EXIT_CODES: Final = """
`usher COMMAND --help` tells more. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings,
130 interrupted.
"""
_UNWRITABLE: Final = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines; descriptions are wrapped as ever."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("\n"):
            return super()._fill_text(text.strip("\n"), width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and says what a misspelt option may have meant, without its value."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {"allow_abbrev": False, "formatter_class": _Help}
        super().__init__(**(defaults | options))

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
        epilog=_EXIT_CODES,
    )
    root.add_argument("--version", action="version", version=f"usher {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    first = (serve, database, doctor, token, query, transaction)
    for module in (*first, keys, jwks, policy, status, health, settings):
        module.add_to(verbs)
    completion.add_to(verbs, root)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        code = int(chosen.run(chosen))
        if sys.stdout is not None:  # as it is when the shell closed it
            sys.stdout.flush()
        return code
    except SettingsError as error:
        return _tell(chosen, str(error), 2)
    except UnicodeEncodeError:
        return _tell(chosen, "an argument is not UTF-8 text", 2)
    except UsherError as error:
        return _tell(chosen, str(error), 1, reason=error.reason.value)
    except Failed as error:
        return _tell(chosen, str(error), 1)
    except usher.UsherError as error:
        return _refused(chosen, error)
    except grpc.RpcError as error:
        return _refused(chosen, from_grpc(error, repeatable=False))
    except BrokenPipeError:
        _give_up_output()
        return 1
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _give_up_output()
        return _tell(chosen, f"the output cannot be written ({error.strerror})", 1)
    except KeyboardInterrupt:
        return interrupts.EXIT_CODE


def _refused(chosen: argparse.Namespace, error: usher.UsherError) -> int:
    return _tell(
        chosen,
        describe(error, chosen),
        2 if error.reason == "CLIENT_INVALID" else 1,
        code=error.code,
        reason=error.reason,
        sqlstate=error.sqlstate,
        retryable=error.retryable,
        statement_index=error.statement_index,
        request_id=error.request_id,
        fields=dict(error.fields) or None,
    )


def _tell(chosen: argparse.Namespace, message: str, exit_code: int, **more: Any) -> int:
    """The error on standard error: a line, or with --json an object."""
    if getattr(chosen, "json", False):
        told = {"message": message} | {name: value for name, value in more.items() if value is not None}
        print(json.dumps({"error": told}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"usher: {message}", file=sys.stderr)
    return exit_code


def _give_up_output() -> None:
    """Python would try to write the rest once more at its end (documentation, "Note on SIGPIPE")."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
