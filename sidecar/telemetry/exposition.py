"""Metrics as text, and those of several processes as one: a family once, with the series of all.

Samples of a worker have the label `worker`, its number; those of the process that answers have none. Nothing
is added up here: sums are for whoever asks, and a difference between workers is what must be seen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

WORKER: Final = "worker"


class Source(Protocol):
    """A registry, or what stands in for one."""

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        ...


@dataclass(frozen=True, slots=True)
class Together:
    """This process's metrics and those of workers, by their numbers, as `families_of` packed them."""

    own: Source
    workers: Mapping[int, Any]

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        families = {family.name: _copied(family) for family in self.own.collect()}
        for number, packed in self.workers.items():
            for name, text, kind, unit, samples in packed:
                family = families.setdefault(name, Metric(name, text, kind, unit))
                for sample, labels, value in samples:
                    family.add_sample(sample, {WORKER: str(number)} | labels, value)
        return families.values()


def _copied(family: Metric) -> Metric:
    """A family to add to: a collector of what never changes, as python_info, gives the same one each time."""
    made = copy.copy(family)
    made.samples = [*family.samples]
    return made


def families_of(source: Source) -> Any:
    """Everything that a source has, as JSON holds it."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            family.unit,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in source.collect()
    ]


def render(source: Any, accept: str | None) -> tuple[bytes, str]:
    """The text and its content type: OpenMetrics 1.0 for who accepts it, else Prometheus' own.

    `source` is a Source; the library asks for no more than its `collect`.
    """
    if "application/openmetrics-text" in (accept or ""):
        text: bytes = openmetrics.generate_latest(source)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(source), CONTENT_TYPE_PLAIN_0_0_4
