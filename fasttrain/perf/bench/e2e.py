"""`fasttrain bench e2e`: whole epochs with loader and evaluation, as a run does them, in turns with peers."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable

from fasttrain.checks import integer
from fasttrain.config import RunConfig
from fasttrain.perf.bench.peers import load_peers
from fasttrain.perf.bench.race import Contender, take_turns
from fasttrain.perf.bench.results import environment, spread
from fasttrain.perf.bench.rows import make_row, share_ceilings

CONTENDER = "fasttrain.perf.bench.contenders:EndToEnd"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the flags of `fasttrain bench e2e` that a run does not have."""
    command.add_argument("--rounds", default=3, metavar="N", help="epochs after the first, cold one; default 3")
    command.add_argument("--peers", action="store_true", help="let the trainers of benchmarks/peers take turns with it")
    command.add_argument("--empty-cache", action="store_true", help="compile anew, without the kernels of earlier runs")


def options(arguments: argparse.Namespace, config: RunConfig) -> dict:
    """Returns the arguments of `bench_e2e` by parsed flags and the RunConfig that they describe."""
    return {"config": config, "rounds": integer(1)("--rounds", arguments.rounds), "peers": arguments.peers,
            "empty_cache": arguments.empty_cache}


def bench_e2e(config: RunConfig, rounds: int = 3, peers: bool = False, empty_cache: bool = False,
              report: Callable[[str], None] = print) -> dict:
    """Measures epochs of training and evaluation; returns {"environment", "rows", "speedups"}.

    Each contender has two rows: "NAME, cold", from the start of its process to the end of its first epoch, and "NAME,
    warm", the `rounds` epochs after it. They take turns, epoch by epoch. peers: also races the trainers of
    benchmarks/peers, and fasttrain on a constant batch, which is the ceiling; `speedups` holds how many times as fast
    as each of them fasttrain was, warm, as a spread over the rounds. empty_cache: starts without compiled kernels.
    report: gets a line for each epoch. Raises ConfigError and DataError for what no contender can do; a contender that
    fails alone has rows without numbers.
    """
    from fasttrain.train.build import build

    package, job = load_peers() if peers else None, build(config).settled(warn=report)
    config = job.config.replace(precision=job.runtime.precision, compile=job.runtime.compile)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        contenders = [make_contender("fasttrain", CONTENDER, config)]
        if peers:
            shared = package.share(config, job.train, job.val, scratch)
            contenders += [make_contender(name, source, config, **shared) for name, source in package.TRAINERS.items()]
            contenders.append(make_contender("constant batch", CONTENDER, config.replace(loader="constant")))
        variables = {"TORCHINDUCTOR_CACHE_DIR": os.path.join(scratch, "compile")} if empty_cache else None
        for contender in contenders:
            contender.start(stack, variables)
            report(contender.news(lambda c: f"ready after {c.worker.ready_seconds:.1f} s"))
        for contender in take_turns(contenders, 1 + rounds):
            report(contender.news(lambda c: f"epoch {len(c.samples)}, {c.speeds[-1]:,.1f} images/s"))
    rows = [row for contender in contenders for row in cold_and_warm(contender)]
    share_ceilings(rows, [contender for contender in contenders for _ in ("cold", "warm")])
    images = {split.name: {"images": len(split), "fingerprint": split.fingerprint} for split in (job.train, job.val)}
    settings = environment(config=config.to_dict(), images=images, rounds=rounds, empty_compile_cache=empty_cache,
                           page_cache="warm")
    return {"environment": settings, "rows": rows, "speedups": speedups(*contenders)}


def make_contender(name: str, source: str, config: RunConfig, **settings) -> Contender:
    """Returns a Contender that trains with a RunConfig."""
    return Contender(name, source, {"config": config.to_dict(), **settings})


def cold_and_warm(contender: Contender) -> list[dict]:
    """Returns the row of the first epoch with all that had to come before it, and the row of those after it."""
    cold = [{**first, "seconds": first["seconds"] + contender.worker.ready_seconds} for first in contender.samples[:1]]
    return [make_row(contender, cold, f"{contender.name}, cold"),
            make_row(contender, contender.samples[1:], f"{contender.name}, warm")]


def speedups(first: Contender, *others: Contender) -> list[dict]:
    """Returns how many times as fast as each other the first one was, round by round: [{"over", "median", ...}]."""
    return [{"over": other.name, **spread(a / b for a, b in zip(first.speeds[1:], other.speeds[1:], strict=True))}
            for other in others if not (first.failure or other.failure)]
