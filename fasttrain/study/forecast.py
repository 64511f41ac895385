"""Forecasts how long runs take: from measured steps for a plan, from finished runs for the rest of a study."""

import functools
import time
from collections.abc import Callable, Iterable

from fasttrain.config import RunConfig
from fasttrain.data.batch import BatchLoader
from fasttrain.perf.summary import summarize
from fasttrain.runtime import Runtime, memory_errors
from fasttrain.train.build import Job

TIMED_STEPS = 3


def run_seconds(job: Job) -> float:
    """Returns the seconds that a run takes, from its start and a few real steps.

    ConfigError where it does not fit into memory.
    """
    started, config, runtime = time.perf_counter(), job.config, job.runtime
    with memory_errors(config.batch_size):
        trainer = job.trainer()
        try:
            trainer.warm_up()
            step, starting = trainer.step, time.perf_counter() - started
            trained = 0.0
            for size in step.sizes:
                step.size = size
                epoch = len(trainer.train_loader) * seconds_each(trainer.train_loader, runtime,
                                                                 lambda batch, n: step.train(batch, 0.0, n, 0))
                trained += config.train_sizes.count(size) * epoch
            evaluated = seconds_each(trainer.val_loader, runtime, lambda batch, n: step.evaluate(batch))
        finally:
            trainer.close()
    return starting + trained + config.epochs * len(trainer.val_loader) * evaluated


def seconds_each(loader: BatchLoader, runtime: Runtime, use: Callable) -> float:
    """Returns the seconds of a step with its batch, without the first step, which warms up.

    use: does a step, called with a batch and its number.
    """
    loader.set_epoch(0)
    batches = iter(loader)
    use(next(batches), 0)
    runtime.synchronize()
    started, steps = time.perf_counter(), 0
    for steps, batch in zip(range(1, TIMED_STEPS + 1), batches, strict=False):
        use(batch, steps)
    if not steps:  # a single batch is all there is
        use(next(iter(loader)), 1)
    runtime.synchronize()
    return (time.perf_counter() - started) / max(1, steps)


class Forecast:
    """Forecasts runs in seconds: a variant takes what it took before, or what its FLOPs tell beside other variants."""

    def __init__(self):
        self.seconds: dict[tuple, float] = {}

    def learn(self, config: RunConfig, seconds: float) -> None:
        """Takes in what a run took, or will take."""
        self.seconds[self.key(config)] = seconds

    def knows(self, config: RunConfig) -> bool:
        """Whether a run like this one was learned."""
        return self.key(config) in self.seconds

    def of(self, config: RunConfig) -> float | None:
        """Returns the seconds that a run takes; None while nothing is known."""
        if self.knows(config):
            return self.seconds[self.key(config)]
        shares = [seconds / work(*key) for key, seconds in self.seconds.items()]
        return sum(shares) / len(shares) * work(*self.key(config)) if shares else None

    @staticmethod
    def key(config: RunConfig) -> tuple:
        """Returns what runs that take equally long have in common."""
        return config.arch, config.head, config.stem, config.train_sizes, config.recipe

    def left(self, configs: Iterable[RunConfig]) -> float | None:
        """Returns the seconds that these runs take one after the other; None while nothing is known."""
        each = [self.of(config) for config in configs]
        return None if None in each else sum(each)


@functools.cache
def work(arch: str, head: str, stem: str, sizes: tuple[int, ...], recipe: str) -> int:
    """Returns the FLOPs of a run, up to a factor that all runs of a study share."""
    return sum(sizes.count(size) * summarize(arch, head, 200, size, stem).flop_counter for size in set(sizes))
