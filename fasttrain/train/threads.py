"""Tries out how many threads train fastest on this machine as it is now: other programs may use its cores."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from fasttrain.config import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.data.split import Split
from fasttrain.models import new_network
from fasttrain.runtime import Runtime, use_threads
from fasttrain.train.step import Step

MORE_ROUNDS = 2  # steps that the candidates in the lead take in turns after their first
HOPELESS, CLOSE = 2.0, 1.5  # times the best: what ends the search downwards; what a candidate in the lead may take


def fastest_threads(config: RunConfig, runtime: Runtime, split: Split) -> tuple[int, str]:
    """Returns the fastest number of threads, and one line that says why: from real steps of a network of their own."""
    step, batch = rehearsal(config, runtime, split)

    def seconds(count: int) -> float:
        use_threads(count)
        started = time.perf_counter()
        step.train(batch, 0.0, 0, 0)
        return time.perf_counter() - started

    seconds(max(1, runtime.threads // 2))  # allocates, and chooses algorithms; with all threads it may take long
    medians = race(candidates(runtime.threads), seconds)
    best = min(medians, key=medians.get)
    return best, f"threads {best}: tried out ({', '.join(f'{n}: {t:.2g} s a step' for n, t in medians.items())})"


def candidates(most: int) -> list[int]:
    """Returns the numbers of threads to try, downwards: all, all but one, and by halving down to 1."""
    counts = [most, max(1, most - 1)]
    while most > 1:
        most //= 2
        counts.append(most)
    return list(dict.fromkeys(counts))


def race(counts: list[int], seconds: Callable[[int], float]) -> dict[int, float]:
    """Returns the median seconds of each count that was tried. seconds: does a step with that many threads.

    Goes down until a count is hopeless, and once more with those in the lead: one slow step tells little.
    """
    tried: dict[int, list[float]] = {}
    for count in counts:
        tried[count] = [seconds(count)]
        best = min(times[0] for times in tried.values())
        if tried[count][0] > HOPELESS * best:
            break
    leading = [count for count, times in tried.items() if times[0] <= CLOSE * best]
    for _ in range(MORE_ROUNDS if len(leading) > 1 else 0):
        for count in leading:
            tried[count].append(seconds(count))
    return {count: statistics.median(times) for count, times in tried.items()}


def rehearsal(config: RunConfig, runtime: Runtime, split: Split) -> tuple[Step, Batch]:
    """Returns a step with a new network, and a full batch of the first images."""
    model = new_network(config, split.num_classes)
    count = min(config.batch_size, len(split))
    batch = Batch(torch.from_numpy(split.pixels[split.rows[:count]]), torch.from_numpy(split.labels[:count]),
                  torch.arange(count), count)
    return Step(model, config, runtime, split, steps_per_epoch=1), batch
