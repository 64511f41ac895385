"""How a global batch is shared out: into slices, and slices among processes. No torch in here.

Each slice has its own forward and backward pass and its own BatchNorm. With `shards` all is added up along one binary
tree over the slices, so that the sums do not depend on who computed which slice.
"""

from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError


def slice_count(shards: int, processes: int) -> int:
    """Returns the number of slices: `shards` of the config where that says more than one, else one a process."""
    return shards if shards > 1 else processes


def slice_start(count: int, number: int, slices: int) -> int:
    """Returns where slice `number` of a batch of `count` samples begins; that of `slices` is its end.

    Process r of N begins where slice r * V / N of V does.
    """
    return count * number // slices


def refuse_shares(config: RunConfig, processes: int) -> None:
    """Raises ConfigError where so many processes cannot share the batches of a config; an `auto` batch passes."""
    shards, batch = config.shards, config.batch_size
    if shards & (shards - 1):
        raise ConfigError(f"shards: {shards} is not a power of two")
    if shards > 1 and shards % processes:
        near = min(shards, 1 << (processes.bit_length() - 1))
        raise ConfigError(f"shards: {processes} processes do not divide {shards} slices; use {near} processes")
    if config.recalibrate and shards > 1:
        raise ConfigError("recalibrate: depends on the number of processes, which shards is to rule out: set "
                          "recalibrate=0, or shards=1")
    if config.sync_bn and shards > processes:
        raise ConfigError(f"sync_bn: needs as many processes as shards ({shards}), not {processes}: the slices of one "
                          "process come one after the other")
    if batch in (None, "auto"):
        return
    if processes > batch:
        raise ConfigError(f"batch size {batch}: is too small for {processes} processes; use a larger --batch-size or a "
                          f"smaller --nproc")
    if batch % shards:
        raise ConfigError(f"batch size {batch}: {shards} shards do not divide it; use "
                          f"{max(shards, batch // shards * shards)}")
