"""What a supervisor shows of its workers: who is there, who is ready, and how often each was replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.core.events import WorkerEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker, by its number."""

    up: bool
    ready: bool


ReadWorkers = Callable[[], Sequence[WorkerState]]


class WorkerGauges(Collector):
    """Empty where there are no workers."""

    def __init__(self) -> None:
        self._read: ReadWorkers = tuple
        self._ended: Counter[int] = Counter()

    def watch(self, read: ReadWorkers) -> None:
        """Reads these from now on."""
        self._read = read

    def ended(self, event: WorkerEnded) -> None:
        """Counts one that is replaced."""
        self._ended[event.worker] += 1

    def collect(self) -> Iterable[Metric]:
        """One reading."""
        up = GaugeMetricFamily("usher_worker_up", "Whether a worker runs: 1 or 0.", labels=["worker"])
        ready = GaugeMetricFamily(
            "usher_worker_ready",
            "Whether a worker runs and all it checks is well: 1 or 0.",
            labels=["worker"],
        )
        restarts = CounterMetricFamily(
            "usher_worker_restarts", "Times that a worker ended or hung and was replaced.", labels=["worker"]
        )
        for number, worker in enumerate(self._read()):
            up.add_metric([str(number)], worker.up)
            ready.add_metric([str(number)], worker.ready)
            restarts.add_metric([str(number)], self._ended[number])
        return up, ready, restarts
