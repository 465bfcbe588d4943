"""The command `usher`: one file a subcommand.

`serve` and `dev` run the sidecar; `db` works on a database; `token`, `query`, `whoami`, `keys` and `health`
are clients of a running sidecar; `settings` lists what can be set.
"""

from sidecar.cli.main import main

__all__ = ["main"]
