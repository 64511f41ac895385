"""Several processes of one run, as torchrun would start them: forked from a server that has imported torch once."""

import multiprocessing
import os
import socket
import traceback

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.ranks_ready"])
TIMEOUT = 120


def run_ranks(size, function, *arguments, **environment):
    """What `function(*arguments)`, a function of a test file, returns in each of `size` processes; raises if one fails.

    environment: variables of all of them, beside torchrun's.
    """
    environment = {**environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    pipes, started = [], []
    for rank in range(size):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=rank_main, args=(theirs, rank, size, environment, function, arguments))
        process.start()
        theirs.close()
        pipes.append(mine)
        started.append(process)
    try:
        results = [pipe.recv() if pipe.poll(TIMEOUT) else (False, f"rank {rank} said nothing for {TIMEOUT} s")
                   for rank, pipe in enumerate(pipes)]
    except EOFError:
        results = [(False, "a rank ended without a word")]
    finally:
        for process in started:
            process.join(5)
            process.kill()
    failed = [text for good, text in results if not good]
    assert not failed, "\n".join(failed)
    return [value for _, value in results]


def rank_main(pipe, rank, size, environment, function, arguments):
    os.environ |= {**environment, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
                   "LOCAL_WORLD_SIZE": str(size)}
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, f"rank {rank}:\n{traceback.format_exc()}"))


def free_port():
    """A port of this host where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
