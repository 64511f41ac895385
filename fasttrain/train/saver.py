"""Saves checkpoints beside the training: the loop stands still for one copy to host memory, a thread does the rest."""

import copy
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fasttrain.train.checkpoint import Checkpoints, State

# The share of a run's time that saving takes at most where `save_every` is auto. The thread's time on the processor
# counts too: on a CPU, it is training that misses it.
SHARE = 0.01


class Saver:
    """Takes copies of states and writes them one after the other, in a thread that lives while there is one to write.

    Of the states that wait, the newest of each name stays. With `auto` they wait for a later call of `save`, or of
    `wait`, while saving has had its share of the run.

    every: `save_every` of the config. seconds: for how long `save` kept its callers, in all.
    """

    def __init__(self, checkpoints: Checkpoints | None, every: str | int):
        self.checkpoints, self.every, self.seconds = checkpoints, every, 0.0
        self.began, self.cost = -math.inf, 0.0  # when something was last written; seconds that saving took since
        self.lock = threading.Lock()
        self.waiting: dict[str, State] = {}
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def due(self, epoch: int) -> bool:
        """Whether `save_every` asks for a save after this epoch, counted from 1."""
        if isinstance(self.every, int):
            return epoch % self.every == 0
        if self.every == "auto":
            return self.affordable()
        return time.monotonic() - self.began >= 60 * float(self.every.rstrip("m"))

    def affordable(self) -> bool:
        """Whether nothing is under way and saving took at most SHARE of the time since it last began."""
        return self.thread is None and self.cost <= SHARE * (time.monotonic() - self.began)

    def save(self, names: tuple[str, ...], state: State) -> None:
        """Copies `state` to host memory, to be written under each of `names`.

        Raises the error of the thread if an earlier state could not be written.
        """
        self.raise_error()
        started = time.monotonic()
        state = to_host(state)
        with self.lock:
            self.waiting |= dict.fromkeys(names, state)
        seconds = time.monotonic() - started
        self.seconds += seconds
        self.cost += seconds
        if self.every != "auto" or self.affordable():
            self.start(seconds)

    def start(self, copied: float = 0.0) -> None:
        """Starts the thread if something waits and nothing is under way. copied: seconds that the copy took."""
        with self.lock:
            if self.waiting and self.thread is None:
                self.began, self.cost = time.monotonic(), copied
                self.thread = threading.Thread(target=self.write, name="saver")
                self.thread.start()

    def wait(self) -> None:
        """Returns when all is on the disk; raises the error of the thread if it is not."""
        self.start()
        if thread := self.thread:
            thread.join()
        self.raise_error()

    def write(self) -> None:
        """Writes what waits until nothing does: what the thread runs."""
        while taken := self.take():
            try:
                for state in {id(state): state for state in taken.values()}.values():
                    self.checkpoints.save(tuple(name for name in taken if taken[name] is state), state)
            except BaseException as error:  # the loop raises it
                self.error = error

    def take(self) -> dict[str, State]:
        """Returns what waits, by name; with nothing left the thread is over, and what it took is counted."""
        with self.lock:
            taken, self.waiting = self.waiting, {}
            if not taken:
                self.cost += time.thread_time()
                self.thread = None
            return taken

    def raise_error(self) -> None:
        """Raises what the thread failed with, once."""
        error, self.error = self.error, None
        if error:
            raise error


def to_host(state: State) -> State:
    """Returns a copy of nested dicts, lists and tensors that later steps leave alone; tensors lie in host memory.

    A tensor that is there twice is copied once, so that equal states have equal files.
    """
    state = copied(state, on_host, {})
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return state


def on_host(tensor: Tensor) -> Tensor:
    """Returns a copy in host memory; one from a GPU may be under way."""
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda).copy_(tensor, non_blocking=tensor.is_cuda)


def copied(value: Any, copy_of: Callable[[Tensor], Tensor], copies: dict[int, Tensor]) -> Any:
    """Returns a copy of one value of a state. copy_of: copies a tensor. copies: those there are, by id."""
    if isinstance(value, Tensor):
        if id(value) not in copies:
            copies[id(value)] = copy_of(value)
        return copies[id(value)]
    if isinstance(value, dict):
        outer = copy.copy(value)  # with the attributes of a module's state
        outer.update((key, copied(inner, copy_of, copies)) for key, inner in value.items())
        return outer
    if isinstance(value, list | tuple):
        return type(value)(copied(inner, copy_of, copies) for inner in value)
    return value
