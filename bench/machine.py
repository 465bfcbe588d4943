"""What processes cost, and which machine this is: read from /proc, so Linux alone."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ROUNDS, _TIMES = 15, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Processor time of one process so far, in seconds, two ways; man 5 proc."""

    by_thread: dict[int, float]
    """From schedstat, to the nanosecond, but a thread that ends takes its share along."""
    whole: float
    """From stat, to one hundredth of a second, ended threads included."""


def cpu(pid: int) -> Cpu:
    """Processor time so far. Zero for a process that has ended."""
    by_thread = {}
    try:
        for thread in (Path("/proc") / str(pid) / "task").iterdir():
            try:
                by_thread[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return Cpu(by_thread={}, whole=0.0)
    return Cpu(by_thread=by_thread, whole=(int(fields[11]) + int(fields[12])) / _TICKS)


def spent(before: dict[int, Cpu], after: dict[int, Cpu]) -> float:
    """Processor seconds between two looks at the same processes."""
    total = 0.0
    for pid, now in after.items():
        then = before.get(pid, Cpu(by_thread={}, whole=0.0))
        if then.by_thread.keys() <= now.by_thread.keys():
            total += sum(now.by_thread.values()) - sum(then.by_thread.values())
        else:
            total += now.whole - then.whole
    return total


def look(pids: Iterable[int]) -> dict[int, Cpu]:
    """Each process's time so far."""
    return {pid: cpu(pid) for pid in pids}


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:  # it grows
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def forget_peak(pids: Iterable[int]) -> None:
    """Begins the count of peak memory anew."""
    for pid in pids:
        try:
            (Path("/proc") / str(pid) / "clear_refs").write_text("5")
        except OSError:  # another user's, or it has ended: its peak is then one of its whole life
            continue


def peak(pids: Iterable[int]) -> float:
    """The most resident memory of each process since `forget_peak`, together, in MiB."""
    return sum(_status_kib(pid, "VmHWM") for pid in pids) / 1024


def resident(pids: Iterable[int]) -> float:
    """Resident memory now, in MiB."""
    return sum(_status_kib(pid, "VmRSS") for pid in pids) / 1024


def describe() -> dict[str, str]:
    """This machine, the commit, and what it ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "machine": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "plain_python_us": f"{plain_code_us():.2f}",
        "node": _output("node", "--version"),
        "go": _output("go", "version").removeprefix("go version "),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def plain_code_us() -> float:
    """Microseconds for a little plain code, the least of several rounds: a loop over a dict, a method's call.

    It tells builds of Python apart: how one was built is not to be had from every distribution's.
    """
    numbers = {str(number): number for number in range(20)}
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time()
        for number in range(_TIMES):
            total = 0
            for name, value in numbers.items():
                total += len(name) + value
            _Pair(total, number).sum()
        best = min(best, time.process_time() - started)
    return best / _TIMES * 1e6


@dataclass(slots=True)
class _Pair:
    one: int
    other: int

    def sum(self) -> int:
        return self.one + self.other


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent, timeout=20
        )
    except FileNotFoundError:
        return "missing"
    return done.stdout.strip() or "unknown"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold blanks."""
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _status_kib(pid: int, name: str) -> int:
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
