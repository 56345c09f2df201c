"""Side-by-side timing for the benchmarks: repeats take turns, so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def take_turns(cases: dict[str, Callable[[], object]], seconds: float, clock: str = "wall") -> dict[str, list[float]]:
    """Seconds of every case in turn, at least three rounds, until the time is up; a first round is discarded.

    Wall time on two threads of a machine with other work measures how long threads wait for each other; processor time
    ("cpu") on one thread is what to compare there.
    """
    now = CLOCKS[clock]
    times: dict[str, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 4 or time.perf_counter() < end:
        for name, work in cases.items():
            start = now()
            work()
            if rounds:
                times[name].append(now() - start)
        rounds += 1
    return times


def ratio(reference: list[float], ours: list[float]) -> float:
    """Median over rounds of reference / ours."""
    return statistics.median(a / b for a, b in zip(reference, ours, strict=True))


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes of tensors alive at once among those that ``work`` makes on the CPU, its results included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    alive = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


def copy_rate() -> float:
    """Bytes a second that this machine reads and writes in a plain copy of 64 MiB: the best of ten."""
    source, target = torch.ones(1 << 24), torch.empty(1 << 24)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)
