"""The processes of one run, as torchrun started them, and what they tell each other; one process tells nobody anything.

Two groups: that of the steps, on the step's device, where a peer that is silent for STEP has failed; and that of
everything else, between hosts, where one may wait as long as another packs data, compiles or saves.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from fasttrain import __version__, launch
from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError, DivergedError, FasttrainError, Interrupted, PeerLost, Silent

STEP = timedelta(seconds=25)
SET_UP = timedelta(hours=2)
STORE = timedelta(seconds=10)  # in which whatever listens at the rendezvous has to answer as one
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process's place among those of the run. steps, hosts: the groups; None for one process.

    Every method but `first` is called by all processes, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    steps: Any = None
    hosts: Any = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, saves and prints."""
        return self.rank == 0

    # Between two steps, on the step's device

    def sum(self, tensor: torch.Tensor) -> None:
        """Adds up the tensors of all processes in place."""
        if self.size > 1:
            with peers_alive():
                dist.all_reduce(tensor, group=self.steps)

    def max(self, tensor: torch.Tensor) -> None:
        """Takes the maximum over all processes in place."""
        if self.size > 1:
            with peers_alive():
                dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.steps)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the tensors of all processes in the order of their ranks: [size, *tensor.shape]."""
        if self.size == 1:
            return tensor[None]
        gathered = tensor.new_empty((self.size, *tensor.shape))
        with peers_alive():
            dist.all_gather(list(gathered), tensor, group=self.steps)
        return gathered

    # Around the steps, between hosts: may take long

    def all(self, value: Any) -> list[Any]:
        """Returns what each process gave, by rank: anything that can be pickled."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        with peers_alive():
            dist.all_gather_object(values, value, group=self.hosts)
        return values

    def share(self, value: Any = None) -> Any:
        """Returns what rank 0 gave."""
        values = [value]
        if self.size > 1:
            with peers_alive():
                dist.broadcast_object_list(values, group=self.hosts)
        return values[0]

    def together(self, function: Callable[[], Result]) -> Result:
        """Returns what `function` returns here. Where it fails on a process, all end with the error of the first such.

        Only that process says what it was; the others raise `Silent`.
        """
        if self.size == 1:
            return function()
        result = error = None
        try:
            result = function()
        except FasttrainError as raised:
            error = raised
        codes = self.all(error and error.exit_code)
        failed = [rank for rank, code in enumerate(codes) if code is not None]
        if failed:
            raise error if failed[0] == self.rank else Silent(codes[failed[0]])
        return result

    def in_turn(self, function: Callable[[], Result]) -> Result:
        """Calls `function` on rank 0, then on each other node's first process, then on the rest; see `together`.

        What it builds on a disk is built once on a shared one, and once on each node's own.
        """
        mine = 0 if self.first else 1 if self.local_rank == 0 else 2
        turns = range(3 if self.size > 1 else 1)
        return [self.together(function if turn == mine else lambda: None) for turn in turns][mine]


ALONE = Processes()


@contextlib.contextmanager
def joined(config: RunConfig) -> Iterator[Processes]:
    """Yields the processes that torchrun's variables tell of, joined in groups while the block runs.

    Each takes the GPU of its local rank. Raises ConfigError where they do not fit to each other or to the machine.
    """
    rank, size, local_rank, local_size = (
        read(name, default) for name, default in
        (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    if size == 1:
        yield ALONE
        return
    if not dist.is_available():
        raise ConfigError("several processes: this torch was built without torch.distributed")
    launch.stay_with_parent()
    gpu = take_gpu(config, local_rank, local_size)
    require_rendezvous(rank)
    try:
        dist.init_process_group("gloo", timeout=SET_UP)
        steps = dist.new_group(backend="nccl" if gpu else "gloo", timeout=STEP)
        peers = Processes(rank, size, local_rank, local_size, steps, dist.group.WORLD)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"processes: cannot meet at {rendezvous()}: {first_line(error)}") from None
    try:
        refuse_differing(peers, config)
        yield peers
        peers.all(None)
    except (Interrupted, DivergedError) as error:  # in all: nobody leaves before rank 0 has saved
        peers.all(None)
        raise error if peers.first else Silent(error.exit_code) from None
    finally:
        with contextlib.suppress(RuntimeError):  # a peer that failed is told elsewhere
            dist.destroy_process_group()


def read(name: str, default: int) -> int:
    """Returns a number that torchrun sets in the environment."""
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(f"{name}={text}: is not a number of processes, as torchrun sets it")
    return int(text)


def take_gpu(config: RunConfig, local_rank: int, local_size: int) -> bool:
    """Makes the GPU of this rank the current one; returns whether there is any to use."""
    if config.device == "cpu" or not torch.cuda.is_available():
        return False
    count = torch.cuda.device_count()
    if local_size > count:
        raise ConfigError(f"processes: {local_size} on a machine with {count} GPUs: each needs one of its own")
    torch.cuda.set_device(local_rank)
    return True


def rendezvous() -> str:
    return f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"


def require_rendezvous(rank: int) -> None:
    """Raises ConfigError where another program holds the port: torch would wait for its answer for ever.

    A port where nobody listens yet is no error: rank 0 may come later.
    """
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise ConfigError(f"{name}: is not set: start several processes with --nproc, or with torchrun")
    host, port = os.environ["MASTER_ADDR"], read("MASTER_PORT", 0)
    held = ConfigError(f"processes: {host}:{port} is held by another program; choose another port")
    if rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                raise held from None
        return
    until = time.monotonic() + SET_UP.total_seconds()
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
            break
        time.sleep(0.2)
    answered = threading.Event()

    def ask():
        with contextlib.suppress(RuntimeError):
            dist.TCPStore(host, port, is_master=False, timeout=STORE, wait_for_workers=False).set("fasttrain", "")
            answered.set()

    asking = threading.Thread(target=ask, daemon=True)  # torch keeps to its timeout only with one that answers
    asking.start()
    asking.join(STORE.total_seconds())
    if not answered.is_set():
        raise held


def refuse_differing(peers: Processes, config: RunConfig) -> None:
    """Raises ConfigError, on rank 0, where a process has another version of fasttrain or another configuration."""
    mine = {"fasttrain": __version__, **config.to_dict()}

    def check():
        for rank, other in enumerate(found):
            for name in mine if peers.first else ():
                if other.get(name) != mine[name]:
                    raise ConfigError(f"process {rank} has {name} {other.get(name)}, process 0 has {mine[name]}: start "
                                      "all with the same command and the same fasttrain")

    found = peers.all(mine)
    peers.together(check)


@contextlib.contextmanager
def peers_alive() -> Iterator[None]:
    """Raises PeerLost where what is inside fails because another process ended or does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(launch.lose_peer("another process of this run ended or does not answer "
                                        f"({first_line(error)})")) from None


def first_line(error: BaseException) -> str:
    """Returns the first line of what torch says, without the place in its source."""
    return re.sub(r"^\[[^]]*\] *", "", (str(error).strip() or type(error).__name__).splitlines()[0])[:160]
