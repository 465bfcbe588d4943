"""What a supervisor shows of its workers."""

from __future__ import annotations

from sidecar.core.events import WorkerEnded
from sidecar.telemetry.worker_gauges import WorkerGauges, WorkerState


def values(gauges: WorkerGauges) -> dict[str, list[float]]:
    return {family.name: [sample.value for sample in family.samples] for family in gauges.collect()}


def test_each_worker_has_its_state_and_its_replacements() -> None:
    gauges = WorkerGauges()
    gauges.watch(lambda: [WorkerState(up=True, ready=False), WorkerState(up=False, ready=False)])
    for _ in range(2):
        gauges.ended(WorkerEnded(worker=1, code=-9, again_in=0.0))
    assert values(gauges) == {
        "usher_worker_up": [1.0, 0.0],
        "usher_worker_ready": [0.0, 0.0],
        "usher_worker_restarts": [0.0, 2.0],
    }


def test_where_there_are_no_workers_nothing_is_shown() -> None:
    assert set(map(tuple, values(WorkerGauges()).values())) == {()}
