"""Settings: each declared once; environment, file, command line and docs derive from the declaration.

Later sources win: default, settings file (TOML), environment (USHER_NAME), command line (--name). An unknown
or misspelt name is an error with a suggestion, wherever it stands. Refuses to know how the parts are built.
"""

from sidecar.config.addresses import is_local
from sidecar.config.policy_file import PolicyFileError, load_policy, parse_policy
from sidecar.config.settings import DECLARED, Config
from sidecar.config.sources import check_names, collect, load, suggestion
from sidecar.config.statement_files import load_statements

__all__ = [
    "DECLARED",
    "Config",
    "PolicyFileError",
    "check_names",
    "collect",
    "is_local",
    "load",
    "load_policy",
    "load_statements",
    "parse_policy",
    "suggestion",
]
