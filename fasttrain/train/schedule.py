"""Learning-rate schedules: pure functions of the step, so that resuming needs no state."""

from fasttrain.registry import SCHEDULES


def step_decay(config, progress, epoch):
    """1, times gamma after every `period` whole epochs (the original study's StepLR)."""
    return config.gamma ** (epoch // config.period)


def peak_to_zero(config, progress, epoch):
    """Rises linearly over the share `warmup` of the run, then falls linearly to zero (airbench, hlb-CIFAR10)."""
    if progress < config.warmup:
        return progress / config.warmup
    return (1 - progress) / max(1 - config.warmup, 1e-9)


def learning_rate(run_config, step, steps_per_epoch):
    """The learning rate of the global step `step` (from 0)."""
    total = run_config.epochs * steps_per_epoch
    shape = SCHEDULES.load(run_config.schedule.name)
    return run_config.lr * shape(run_config.schedule, (step + 0.5) / total, step // steps_per_epoch)
