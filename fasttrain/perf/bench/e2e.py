"""`fasttrain bench e2e`: whole epochs with loader and evaluation, as a run does them; peers in turns, A B C A B C."""

import contextlib
import os
import tempfile

from fasttrain.config import fit_to_data, integer
from fasttrain.perf.bench.peers import load_peers
from fasttrain.perf.bench.results import environment, spread
from fasttrain.perf.bench.rows import failed_row, make_row, share_ceilings
from fasttrain.perf.bench.worker import Failure, Worker

CONTENDER = "fasttrain.perf.bench.contenders:EndToEnd"


def add_arguments(command):
    """Adds the flags of `fasttrain bench e2e`, beside those of a run, to an argparse parser."""
    command.add_argument("--rounds", default=3, metavar="N", help="epochs after the first, cold one; default 3")
    command.add_argument("--peers", action="store_true", help="let the trainers of benchmarks/peers take turns with it")
    command.add_argument("--empty-cache", action="store_true", help="compile anew, without the kernels of earlier runs")


def options(arguments, config):
    """The arguments of `bench_e2e` out of parsed flags and the RunConfig that they describe."""
    return {"config": config, "rounds": integer(1)("--rounds", arguments.rounds), "peers": arguments.peers,
            "empty_cache": arguments.empty_cache}


def bench_e2e(config, rounds=3, peers=False, empty_cache=False, report=print):
    """Measures epochs of training and evaluation: {"environment", "rows", "speedups"}.

    Two rows for each contender: "NAME, cold", from the start of its process to the end of its first epoch, and "NAME,
    warm", the `rounds` epochs after it. They take turns, epoch by epoch. peers: also the trainers of benchmarks/peers,
    and fasttrain on a constant batch, which is the ceiling; `speedups` says how many times as fast as each of them
    fasttrain was, warm, as a spread over the rounds. empty_cache: start without compiled kernels. report: gets a line
    for each epoch. Raises ConfigError and DataError for what no contender can do; what only one cannot is a row.
    """
    from fasttrain import runtime as runtimes
    from fasttrain.data.pack import open_splits

    package = load_peers() if peers else None
    runtime = runtimes.resolve(config)
    train, val = open_splits(config)
    config = fit_to_data(config.replace(precision=runtime.precision, compile=runtime.compile), len(train))
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {"TORCHINDUCTOR_CACHE_DIR": os.path.join(scratch, "compile")} if empty_cache else {}
        racers = [Racer("fasttrain", CONTENDER, config, {}, variables, report)]
        if peers:
            shared = package.share(config, train, val, scratch)
            racers += [Racer(name, contender, config, shared, variables, report)
                       for name, contender in package.TRAINERS.items()]
            racers.append(Racer("constant batch", CONTENDER, config.replace(loader="constant"), {}, variables, report))
        race(racers, rounds, stack)
        rows, ceilings = zip(*((row, racer.ceiling) for racer in racers for row in racer.rows()), strict=True)
        share_ceilings(rows, ceilings)
    images = {split.name: {"images": len(split), "fingerprint": split.fingerprint} for split in (train, val)}
    settings = environment(config=config.to_dict(), images=images, rounds=rounds, empty_compile_cache=empty_cache,
                           page_cache="warm")
    return {"environment": settings, "rows": list(rows), "speedups": speedups(*racers)}


def race(racers, rounds, stack):
    """Starts the racers one after the other; then they take turns. Their processes end with `stack`."""
    for racer in racers:
        stack.callback(racer.close)
        racer.start()
    for _ in range(1 + rounds):
        for racer in racers:
            racer.go()


def speedups(first, *others):
    """How many times as fast as each other racer the first one was, round by round: [{"over", "median", ...}]."""
    return [{"over": other.name, **spread(a / b for a, b in zip(first.speeds()[1:], other.speeds()[1:], strict=True))}
            for other in others if not (first.failure or other.failure)]


class Racer:
    """A contender with what it measured so far; one that failed stays out of further rounds."""

    def __init__(self, name, contender, config, more_settings, variables, report):
        self.name, self.contender, self.config = name, contender, config
        self.settings = {"config": config.to_dict(), **more_settings}
        self.variables, self.report = variables, report
        self.worker, self.samples, self.failure = None, [], None

    def start(self):
        with self.failing():
            self.worker = Worker(self.contender, self.settings, self.variables)
            self.report(f"{self.name}: ready after {self.worker.ready_seconds:.1f} s")

    def go(self):
        if self.failure is None:
            with self.failing():
                self.samples.append(self.worker.measure())
                self.report(f"{self.name}: epoch {len(self.samples)}, {self.speeds()[-1]:,.1f} images/s")

    def speeds(self):
        """Images a second in each epoch so far."""
        return [sample["images"] / sample["seconds"] for sample in self.samples]

    @contextlib.contextmanager
    def failing(self):
        try:
            yield
        except Failure as failure:
            self.failure = failure
            self.report(f"{self.name}: {failure.status}: {failure}")

    def rows(self):
        """The cold row and the warm one."""
        if self.failure:
            return [failed_row(self.config, f"{self.name}, {kind}", self.failure.status)
                    for kind in ("cold", "warm")]
        first, facts = self.samples[0], self.worker.facts
        cold = {**first, "seconds": first["seconds"] + self.worker.ready_seconds}
        return [make_row(self.config, f"{self.name}, cold", facts, [cold]),
                make_row(self.config, f"{self.name}, warm", facts, self.samples[1:])]

    @property
    def ceiling(self):
        """FLOP/s of a matrix product, as measured in its process; None where it failed."""
        return None if self.failure else self.worker.facts["matmul_flops"]

    def close(self):
        if self.worker:
            self.worker.close()
