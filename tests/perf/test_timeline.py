"""A timeline on a CPU's clock."""

from fasttrain.perf import timeline
from fasttrain.perf.timeline import Timeline


def test_durations_are_collected_by_phase_from_the_start(monkeypatch):
    ticks = iter([0, 1, 5, 8, 18, 20, 27])
    monkeypatch.setattr(timeline.time, "perf_counter_ns", lambda: 1_000_000 * next(ticks))
    found = Timeline("cpu")
    found.mark("forgotten")
    found.start()
    for phase in ("load", "step", "load", "step"):
        found.mark(phase)
    assert found.milliseconds() == {"load": [3, 2], "step": [10, 7]}
