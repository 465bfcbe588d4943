"""The policy in force, and who asks it. Everyone reads it by one attribute; a reload replaces it whole."""

from __future__ import annotations

from typing import Final

from sidecar.core.callers import ANONYMOUS_NAME, Caller
from sidecar.core.clock import Clock
from sidecar.core.errors import Reason, SettingsError, UsherError
from sidecar.core.events import Observer, PolicyDecided
from sidecar.core.policy.deciding import UNLIMITED, Ask, Grant, check_method, decide
from sidecar.core.policy.rates import RateLimiter
from sidecar.core.policy.rules import Policy

UNKNOWN: Final = "unknown"
"""How events name a caller that the policy does not have."""


class Authorizer:
    """Decides by the policy in force and reports each decision. Without a policy everything is allowed."""

    def __init__(
        self, policy: Policy | None, clock: Clock, observer: Observer, *, processes: int = 1
    ) -> None:
        """`processes` is how many share the rate limits. Raises SettingsError as `check`."""
        self._processes = processes
        if policy is not None:
            self.check(policy)
        self._policy = policy
        self._clock = clock
        self._observer = observer
        self._limiter = RateLimiter()

    @property
    def policy(self) -> Policy | None:
        """The policy now; immutable."""
        return self._policy

    def check(self, policy: Policy) -> None:
        """Raises SettingsError for a rate limit of which a process would have no share."""
        for name, rules in policy.callers.items():
            if rules.rate_limit is not None and rules.rate_limit.burst < self._processes:
                raise SettingsError(
                    f"callers.{name}.rate_limit: a burst of {rules.rate_limit.burst} cannot be divided among "
                    f"{self._processes} workers; set burst to {self._processes} or more"
                )

    def replace(self, policy: Policy) -> None:
        """Puts another policy in force, whole. Callers whose rate limit stays keep what they have used."""
        self._limiter.keep_only(set(policy.callers))
        self._policy = policy

    def admit(self, caller: Caller, method: str) -> None:
        """What can be decided before the request is read; for every call, once.

        Raises UsherError RATE_LIMITED or POLICY_REFUSED.
        """
        policy = self._policy
        if policy is None:
            return
        try:
            self._count(policy, caller)
            check_method(policy, caller, method)
        except UsherError as error:
            self._refused(policy, caller, method, error)
            raise

    def decide(self, caller: Caller, *asks: Ask) -> Grant:
        """What the caller may use for these asks, which are one call. Raises UsherError POLICY_REFUSED."""
        policy = self._policy
        if policy is None:
            return UNLIMITED
        try:
            grant = decide(policy, caller, *asks)
        except UsherError as error:
            self._refused(policy, caller, asks[0].method, error)
            raise
        self._observer(PolicyDecided(caller=caller.name, method=asks[0].method, verdict="allowed", rule=""))
        return grant

    def _count(self, policy: Policy, caller: Caller) -> None:
        rules = policy.callers.get(caller.name)
        if rules is None or rules.rate_limit is None:
            return
        wait = self._limiter.take(
            caller.name, rules.rate_limit.share(self._processes), self._clock.monotonic()
        )
        if wait > 0.0:
            rule = f"callers.{caller.name}.rate_limit"
            raise UsherError(
                Reason.RATE_LIMITED,
                f"{rule}: more calls than {rules.rate_limit.per_second:g} a second; slow down",
                {"rule": rule},
                retry_after=wait,
            )

    def _refused(self, policy: Policy, caller: Caller, method: str, error: UsherError) -> None:
        known = caller.name in policy.callers or caller.name == ANONYMOUS_NAME
        self._observer(
            PolicyDecided(
                caller=caller.name if known else UNKNOWN,
                method=method,
                verdict="refused",
                rule=error.metadata["rule"],
            )
        )
