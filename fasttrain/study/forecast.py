"""How long runs take: measured steps for a plan, finished runs for what is left of a study."""

import functools
import time

from fasttrain.perf.summary import summarize
from fasttrain.runtime import memory_errors
from fasttrain.train.build import Job

TIMED_STEPS = 3


def measure(job: Job) -> float:
    """Returns the seconds that a run takes, from its start and a few real steps.

    ConfigError where it has no room.
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


def seconds_each(loader, runtime, use):
    """Seconds of a step with its batch; the first one, with warming up in it, does not count."""
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
    """What is left of a study, in seconds: a variant takes what it took, or what its FLOPs tell beside the others."""

    def __init__(self):
        self.seconds = {}

    def learn(self, config, seconds):
        """Takes in what a run took, or will take."""
        self.seconds[self.key(config)] = seconds

    def of(self, config):
        """Seconds that a run takes; None while nothing is known."""
        if self.key(config) in self.seconds:
            return self.seconds[self.key(config)]
        shares = [seconds / work(*key) for key, seconds in self.seconds.items()]
        return sum(shares) / len(shares) * work(*self.key(config)) if shares else None

    @staticmethod
    def key(config):
        return config.arch, config.head, config.stem, config.train_sizes, config.recipe

    def left(self, configs):
        """Seconds that these runs take one after the other; None while nothing is known."""
        each = [self.of(config) for config in configs]
        return None if None in each else sum(each)


@functools.cache
def work(arch, head, stem, sizes, recipe):
    """FLOPs of a run, up to a factor that all runs of a study share."""
    return sum(sizes.count(size) * summarize(arch, head, 200, size, stem).flop_counter for size in set(sizes))
