"""`--nproc N`: a front that starts the processes of a run with torchrun's elastic agent, and ends as the run does.

The front and its processes share a folder in which these leave words: the run's folder, that a peer was lost, the exit
code. A run that left no exit code has crashed. The processes' side is in here too, without torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fasttrain.checks import integer
from fasttrain.config import RunConfig
from fasttrain.cores import cores
from fasttrain.errors import ConfigError, FasttrainError, Interrupted
from fasttrain.shares import refuse_shares
from fasttrain.workers import die_with_parent, how_it_ended, stat

FRONT = "FASTTRAIN_FRONT"  # in a process: "<process id of the front>:<number of this launch>:<shared folder>"
# what a worker may answer with; all processes end so together, and the agent is to see no failure in it
AGREED = (0, 4, 75, 130)
FORWARDED = "SIGTERM,SIGHUP,SIGUSR1"  # Ctrl-C is handled here
SAVING = 120  # seconds that processes have to save and end after a signal
STOPPED = 30  # looks at a process that is stopped, LOOK seconds apart, before it is killed
LOOK = 1.0


# In a process


def ended(code: int) -> int:
    """Leaves the exit code for the front; returns it, but ends one of several processes here and now.

    The first process to end says how the run ended. 1 is no ending but a crash.
    """
    if "WORLD_SIZE" not in os.environ:
        return code
    if FRONT in os.environ and code != 1:
        leave("code", str(code))
        code = 0 if code in AGREED else code  # the agent takes everything else for a crash
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads free tensors late, and abort where the interpreter is gone


def leave(name: str, text: str) -> None:
    """Leaves a word for the front, if there is one; what is there stays."""
    if FRONT in os.environ:
        with contextlib.suppress(FileExistsError), open(Path(parts()[2]) / name, "x", encoding="utf-8") as file:
            file.write(text)


def lose_peer(reason: str) -> str:
    """Takes note that another process does not answer; returns what this one is to say of it.

    Under a front that is nothing: it knows more. A process that stands still is set going, so that it ends too.
    """
    if FRONT not in os.environ:
        return reason if os.environ.get("RANK") == "0" else ""
    leave("lost", reason)
    for pid in children(os.getppid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    return ""


def restarted() -> bool:
    """Whether this process was started because the one before it crashed."""
    return FRONT in os.environ and int(parts()[1]) > 0


def stay_with_parent() -> None:
    """Sends this process a SIGTERM when what started it ends, so that it saves and ends too."""
    die_with_parent(signal.SIGTERM)
    if FRONT in os.environ and os.getppid() != int(parts()[0]):  # ended before
        raise FasttrainError("the front of this run ended before it began")


def parts() -> list[str]:
    return os.environ[FRONT].split(":", 2)


# In the front


def wanted(nproc: str | None, config: RunConfig) -> int:
    """Returns how many processes this one has to start: 1 means none, to train itself.

    nproc: as the flag gives it. Raises ConfigError for a number that cannot be.
    """
    count, size = None if nproc is None else integer(1)("--nproc", nproc), os.environ.get("WORLD_SIZE")
    if size and count and size != str(count):
        raise ConfigError(f"--nproc {count}: torchrun has started {size} (WORLD_SIZE); leave --nproc away")
    refuse_shares(config, count or int(size or 1))
    return 1 if size else count or 1


def launch(config: RunConfig, count: int, restarts: int, words: Sequence[str],
           say: Callable[[str], None] | None = None) -> int:
    """Runs `fasttrain WORDS` in `count` processes, after a crash up to `restarts` times more; returns the exit code.

    say: gets the error of a process, where nothing else that they print is to be seen. Raises Interrupted or
    FasttrainError where the processes left no exit code.
    """
    refuse_more_than_gpus(config, count)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a peer's death is told in a line of ours
    words, number = list(words), 0
    with stopping() as asked:
        while True:
            with tempfile.TemporaryDirectory(prefix="fasttrain-") as shared:
                killed = run_agent(count, words, number, shared, asked, silent=say is not None)
                code, folder = read(shared, "code"), read(shared, "folder")
                reason = killed or read(shared, "lost") or "the processes ended before the run did"
                said = read(shared, "said")
            if said and say:
                say(said)
            if code is not None:
                return int(code)
            if asked or number == restarts:
                break
            number += 1
            print(f"fasttrain: {reason}; restart {number} of {restarts}", file=sys.stderr)
            words += ["--resume", folder] if folder else []
    raise crash(reason, folder, asked)


def run_agent(count: int, words: Sequence[str], number: int, shared: str, asked: list[signal.Signals],
              silent: bool = False) -> str | None:
    """Runs the processes to their end; returns in words which one was killed, if any. asked: gets a signal that came.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the agent's loggers set levels of their own
    os.environ[FRONT] = f"{os.getpid()}:{number}:{shared}"
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id=f"fasttrain-{os.getpid()}-{number}", max_restarts=0, monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=shared, redirects=Std.ALL if silent else Std.NONE),
        signals_to_handle=FORWARDED, shutdown_timeout=SAVING)
    try:
        with killing_stopped() as stopped:
            elastic_launch(config, sys.executable)("-m", "fasttrain", *words)
    except SignalException as stop:
        asked.append(stop.sigval)
    except ChildFailedError as error:
        killed = {rank: failure for rank, failure in error.failures.items() if failure.exitcode < 0}
        if killed:  # one first, the agent then ended the others
            rank, first = min(killed.items(), key=lambda item: (item[1].pid not in stopped, item[1].timestamp))
            how = f"stood still for {STOPPED} s (SIGSTOP)" if first.pid in stopped else how_it_ended(first.exitcode)
            return f"process {rank}: {how}"
    finally:
        logging.disable(logging.NOTSET)
        del os.environ[FRONT]
    return None


@contextlib.contextmanager
def killing_stopped() -> Iterator[list[int]]:
    """While the block runs, kills each process of this one that stays stopped; yields a list of those killed.

    The others may wait for it for hours where one of them may take long, in set-up for one. Looks are counted
    and not seconds, since Ctrl-Z stops this process with the others.
    """
    over, looks, killed = threading.Event(), Counter(), []

    def watch():
        while not over.wait(LOOK):
            for pid in children(os.getpid()):
                looks[pid] = looks[pid] + 1 if is_stopped(pid) else 0
                if looks[pid] == STOPPED:
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)  # a stopped process cannot end before

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield killed
    finally:
        over.set()
        watching.join()


def is_stopped(pid: int) -> bool:
    """Whether a process stands stopped by a signal. Linux only."""
    with contextlib.suppress(OSError):
        return stat(pid)[0] == "T"
    return False


@contextlib.contextmanager
def stopping() -> Iterator[list[signal.Signals]]:
    """Yields a list of the signals that came; a second Ctrl-C ends everything at once."""
    asked = []

    def interrupt(number, frame):
        from torch.distributed.elastic.multiprocessing import SignalException

        if asked:
            kill_children()
            os._exit(130)
        asked.append(signal.SIGINT)
        raise SignalException("Ctrl-C", signal.SIGINT)

    names = ["SIGINT", *FORWARDED.split(",")]
    former = {signal.Signals[name]: signal.getsignal(signal.Signals[name]) for name in names}
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def kill_children() -> None:
    """Kills the processes that this one has started, each with its group."""
    for pid in children(os.getpid()):
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Returns the processes that the main thread of another, or of this one, has started. Linux only."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def crash(reason: str, folder: str | None, asked: Sequence[signal.Signals]) -> FasttrainError:
    """Returns the error that tells of processes that ended without an exit code."""
    if asked:
        reason = f"{asked[0].name}: the processes ended before they could save"
    if folder and any((Path(folder) / "checkpoints").glob("*.pt")):
        return Interrupted(f"{reason}; continue with --resume {folder}", next(iter(asked), None))
    return FasttrainError(f"{reason}; no checkpoint was saved")


def refuse_more_than_gpus(config: RunConfig, count: int) -> None:
    """Raises ConfigError where the processes would train on GPUs and there are not as many."""
    import torch

    gpus = torch.cuda.device_count() if config.device != "cpu" else 0
    if 0 < gpus < count:
        raise ConfigError(f"--nproc {count}: each process needs a GPU, and there are {gpus} here; use --nproc {gpus}")


def read(shared: str, name: str) -> str | None:
    """Returns the word that a process left; None where none did."""
    with contextlib.suppress(FileNotFoundError):
        return (Path(shared) / name).read_text(encoding="utf-8") or None
    return None
