"""Copies batches from a loader on the host to the step's device, the next one beside the current step."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch

from fasttrain.data.batch import Batch


def to_device(batches: Iterator[Batch], device: Any) -> Iterator[Batch]:
    """Yields the batches of the generator `batches` on `device`, and closes it when left.

    On a CPU they pass as they are. On a GPU each is copied one batch ahead, on a stream of its own, so that the copy
    and the work on the host overlap with the step; images must be pinned for that. Torch's caching allocators keep
    both ends alive: pinned memory until its copy is done, the copy until the step's stream has used it.
    """
    if torch.device(device).type != "cuda":
        return batches
    return _copied(batches, device)


@functools.cache
def _copy_stream(device):
    """Returns one stream for all iterations: torch keeps memory apart for each, and would for every new one."""
    return torch.cuda.Stream(device)


def _copied(batches, device):
    stream, ahead = _copy_stream(device), None
    with contextlib.closing(batches):
        for batch in batches:
            with torch.cuda.stream(stream):
                tensors = [tensor.to(device, non_blocking=True) for tensor in batch[:3]]
                copied = stream.record_event()
            if ahead:
                yield _arrived(*ahead)
            ahead = type(batch)(*tensors, batch.valid), copied
        if ahead:
            yield _arrived(*ahead)


def _arrived(batch, copied):
    """Orders the current stream, which will use `batch`, behind the copy."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for tensor in batch[:3]:
        tensor.record_stream(current)
    return batch
