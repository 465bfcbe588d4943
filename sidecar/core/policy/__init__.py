"""The policy: which caller may ask for what. Pure rules, decided without I/O.

From the ground up: `patterns.py` and `claim_rules.py` say what a text or claim may be, `rules.py` what a
caller may do, `deciding.py` decides one ask, `rates.py` counts calls, `authorizer.py` holds what is in force.
"""

from sidecar.core.policy.authorizer import Authorizer
from sidecar.core.policy.deciding import UNLIMITED, Ask, Grant, Principal, Run, Step, Verdict, decide, explain
from sidecar.core.policy.rules import ADMIN_METHODS, METHODS, Policy, Rules

__all__ = [
    "ADMIN_METHODS",
    "METHODS",
    "UNLIMITED",
    "Ask",
    "Authorizer",
    "Grant",
    "Policy",
    "Principal",
    "Rules",
    "Run",
    "Step",
    "Verdict",
    "decide",
    "explain",
]
