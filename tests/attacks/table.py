"""The table that a run of the corpus ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.attacks.corpus import Attack

Fallen = Mapping[str, Mapping[str, Mapping[str, bool]]]
"""By label of the arena and name of the attack, whether each side fell."""

SIDES = ("naive", "ours")
_NAME, _CATEGORY, _CELL = 40, 13, 12


def lines(attacks: Sequence[Attack], fallen: Fallen) -> Iterator[str]:
    """One line a case, then the totals. A dash: it did not run."""
    versions = sorted(fallen)
    heads = [f"{side} {version}" for version in versions for side in SIDES]
    yield f"{'case':{_NAME}}{'category':{_CATEGORY}}" + "".join(f"{head:{_CELL}}" for head in heads).rstrip()
    for attack in attacks:
        cells = "".join(
            f"{_word(fallen[version].get(attack.name, {}).get(side)):{_CELL}}"
            for version in versions
            for side in SIDES
        )
        yield f"{attack.name:{_NAME}}{attack.category:{_CATEGORY}}{cells}{_mark(attack)}".rstrip()
    yield ""
    yield from totals(attacks, fallen)


def totals(attacks: Sequence[Attack], fallen: Fallen) -> Iterator[str]:
    """How many cases succeeded, by category; against ours also how many of them it is known of."""
    versions = sorted(fallen)
    heads = "".join(f"{side} {version}".ljust(_CELL) for version in versions for side in SIDES)
    yield f"{'attacks that succeeded':{_NAME}}{'of':{_CATEGORY}}{heads}".rstrip()
    for category in [*dict.fromkeys(attack.category for attack in attacks), "all"]:
        cases = [attack for attack in attacks if category in (attack.category, "all")]
        count = Counter(
            (version, side)
            for version in versions
            for side in SIDES
            for attack in cases
            if fallen[version].get(attack.name, {}).get(side)
        )
        cells = "".join(f"{count[version, side]:<{_CELL}}" for version in versions for side in SIDES)
        yield f"{category:{_NAME}}{len(cases):<{_CATEGORY}}{cells}".rstrip()
    known, more = (
        sum(attack.succeeds_by_design(by_token=way) for attack in attacks) for way in (False, True)
    )
    yield (
        f"Of those that succeed against ours, {known} are known, by token {more}: docs/security.md says why."
    )


def _word(fell: bool | None) -> str:
    return {None: "-", True: "falls", False: "holds"}[fell]


def _mark(attack: Attack) -> str:
    if attack.unstoppable:
        return "cannot be stopped"
    if attack.deployment:
        return "mistake of the schema"
    if attack.by_token:
        return "succeeds by token"
    return "falls nowhere" if attack.regression else ""
