"""Times of rotation: what is refused, and what follows from them."""

from __future__ import annotations

import pytest

from sidecar.core.errors import SettingsError
from sidecar.core.keys import Algorithm
from sidecar.core.rotation_settings import RotationSettings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rsa_bits": 1024, "algorithm": Algorithm.RS256}, "2048, 3072 or 4096"),
        ({"lead_time": 329}, "at least 330"),
        ({"lead_time": 0, "unsafe_timing": True}, "not than 1 s"),
        ({"period": 3899}, "must not be shorter"),
        ({"max_token_ttl": 400_000}, "too long"),
        ({"verifiers": ("neon-proxy",), "verifier_wait": 86_401}, "verifier_wait"),
    ],
)
def test_settings_that_break_a_guarantee_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        RotationSettings(**changes).validate()  # type: ignore[arg-type]


def test_settings_at_their_limits() -> None:
    RotationSettings().validate()
    RotationSettings(lead_time=330, period=330).validate()
    RotationSettings(lead_time=2, period=2, max_token_ttl=1, unsafe_timing=True).validate()
    RotationSettings(verifiers=("neon-proxy",), verifier_wait=86_400).validate()
    RotationSettings(algorithm=Algorithm.RS256, rsa_bits=4096).validate()


@pytest.mark.parametrize(("lead", "expected"), [(3900, 900), (330, 110), (20, 20 / 3), (1, 1)])
def test_a_silent_replica_is_waited_for_well_within_the_lead_time(lead: int, expected: float) -> None:
    assert RotationSettings(lead_time=lead).replica_timeout == pytest.approx(expected)


def test_the_last_call_leaves_time_for_a_rotation() -> None:
    assert RotationSettings().last_call == 60
    assert RotationSettings(period=100).last_call == 10
