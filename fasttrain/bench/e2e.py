"""`fasttrain bench e2e`: whole epochs with loader and evaluation, as a run does them; peers in turns, A B C A B C."""

import contextlib
import importlib.util
import os
import tempfile

from fasttrain.bench.results import environment
from fasttrain.bench.rows import failed_row, make_row
from fasttrain.bench.worker import Failure, Worker
from fasttrain.config import fit_to_data, integer
from fasttrain.errors import ConfigError

CONTENDER = "fasttrain.bench.contenders:EndToEnd"
PEERS = "benchmarks.peers"


def add_arguments(command):
    """Adds the flags of `fasttrain bench e2e`, beside those of a run, to an argparse parser."""
    command.add_argument("--rounds", default=3, metavar="N", help="epochs after the first, cold one; default 3")
    command.add_argument("--peers", action="store_true", help="let the trainers of benchmarks/peers take turns with it")
    command.add_argument("--empty-cache", action="store_true", help="compile anew, without the kernels of earlier runs")


def options(arguments, config):
    """The arguments of `bench_e2e` out of parsed flags and the RunConfig that they describe."""
    return {"config": config, "rounds": integer(1)("--rounds", arguments.rounds), "peers": arguments.peers,
            "empty_cache": arguments.empty_cache}


def contenders(config, peers):
    """[(name, contender, RunConfig)]: fasttrain; with `peers` also those of benchmarks/peers, and a constant batch."""
    chosen = [("fasttrain", CONTENDER, config)]
    if peers:
        if importlib.util.find_spec(PEERS.split(".")[0]) is None or importlib.util.find_spec(PEERS) is None:
            raise ConfigError("--peers: they live in benchmarks/ of the source tree; run `python -m fasttrain` there")
        chosen += [(name, contender, config) for name, contender in importlib.import_module(PEERS).CONTENDERS.items()]
        chosen.append(("fasttrain, constant batch", CONTENDER, config.replace(loader="constant")))
    return chosen


def bench_e2e(config, rounds=3, peers=False, empty_cache=False, report=print):
    """Measures epochs of training and evaluation: {"environment", "rows"}.

    Two rows for each contender: "NAME, cold", from the start of its process to the end of its first epoch, and "NAME,
    warm", the `rounds` epochs after it. They take turns, epoch by epoch. empty_cache: start without compiled kernels.
    report: gets a line for each epoch. Raises ConfigError and DataError for what no contender can do; what only one
    cannot is a row.
    """
    from fasttrain import runtime
    from fasttrain.bench.contenders import open_splits

    runtime.resolve(config)
    config = fit_to_data(config, len(open_splits(config)[0]))
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {"TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "compile")} if empty_cache else {}
        racers = [Racer(*entry, variables, report) for entry in contenders(config, peers)]
        for racer in racers:
            stack.callback(racer.close)
            racer.start()
        for _ in range(1 + rounds):
            for racer in racers:
                racer.go()
        rows = [row for racer in racers for row in racer.rows()]
    settings = environment(config=config.to_dict(), rounds=rounds, empty_compile_cache=empty_cache, page_cache="warm")
    return {"environment": settings, "rows": rows}


class Racer:
    """A contender with what it measured so far; one that failed stays out of further rounds."""

    def __init__(self, name, contender, config, variables, report):
        self.name, self.contender, self.config = name, contender, config
        self.variables, self.report = variables, report
        self.worker, self.samples, self.failure = None, [], None

    def start(self):
        with self.failing():
            self.worker = Worker(self.contender, {"config": self.config.to_dict()}, self.variables)
            self.report(f"{self.name}: ready after {self.worker.ready_seconds:.1f} s")

    def go(self):
        if self.failure is None:
            with self.failing():
                sample = self.worker.measure()
                self.samples.append(sample)
                speed = sample["images"] / sample["seconds"]
                self.report(f"{self.name}: epoch {len(self.samples)}, {speed:,.0f} images/s")

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

    def close(self):
        if self.worker:
            self.worker.close()
