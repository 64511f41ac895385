"""`bench loader`: the same batches from every loader, and what they cost in time, CPU and memory.

Each loader runs in a process of its own. They are built one after the other and then measured in turns (A B C A B C),
so that what else the machine does hits all of them alike. The page cache is warm.
"""

import contextlib
import statistics

import numpy as np

from fasttrain.checks import choice, integer, number, optional
from fasttrain.errors import ConfigError
from fasttrain.perf.bench import results
from fasttrain.perf.bench.worker import Failure, Worker
from fasttrain.registry import LOADERS

CONTENDER = "fasttrain.perf.bench.loader_contender:LoaderContender"
AUGMENTS = {
    "none": {},
    "crop-flip": {"crop_padding": 4, "flip": "random"},
    "rrc": {"rrc_scale": 0.25, "flip": "random"},
}


def some_of(check):
    """A check: words with commas between them, each of which goes through `check`; a list comes out."""
    return lambda name, value: results.listed(name, value, check)


# name of the argument of `bench_loader`: (metavar, default, check, help)
OPTIONS = {
    "loaders": ("A,B,...", None, optional(some_of(choice(LOADERS.names))), "default: all that can run here"),
    "augment": ("A,B,...", "crop-flip", some_of(choice(list(AUGMENTS))), f"of {', '.join(AUGMENTS)}"),
    "batch_size": ("N,M,...", 256, some_of(integer(1)), "images in a batch"),
    "data": ("PATH", None, lambda name, value: value, "as for `fasttrain run --data`"),
    "image_size": ("PIXELS", 64, integer(8, 512), "side of an image"),
    "classes": ("K", None, optional(integer(1)), "only the first K sorted classes"),
    "limit_train": ("N", None, optional(integer(1)), "only N images, balanced over classes"),
    "device": ("DEVICE", "auto", choice(("auto", "cpu", "cuda")), "auto, cpu or cuda"),
    "repeats": ("N", 5, integer(1), "measurements of each loader"),
    "seconds": ("S", 2, number(0, 60, above=True), "about how long each takes"),
}


def add_arguments(command):
    """Adds the flags of `fasttrain bench loader` to an argparse parser."""
    for name, (metavar, default, _, text) in OPTIONS.items():
        suffix = "" if default is None else f"; default {default}"
        command.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, default=default, help=text + suffix)


def options(arguments):
    """The arguments of `bench_loader` out of parsed flags; raises ConfigError for what cannot work."""
    return {name: check(f"--{name.replace('_', '-')}", getattr(arguments, name))
            for name, (_, _, check, _) in OPTIONS.items()}


def bench_loader(loaders=None, augment=("crop-flip",), batch_size=(256,), data=None, image_size=64, classes=None,
                 limit_train=None, device="auto", repeats=5, seconds=2.0, seed=0, report=print):
    """Measures loaders on the training images of `data`: {"environment": {...}, "rows": [one dict for each]}.

    loaders: names; one that cannot run here raises ConfigError. None: all, and one that cannot run gets a row without
    numbers that says why in "note". augment: keys of AUGMENTS. report: gets a line for what is going on. In a row,
    speeds are the spread over the repeats, CPU time (of all threads and workers) their median, and `build_seconds`
    last from the construction to the first batch: compiling, indexing, starting workers.
    """
    from fasttrain.perf.bench.loader_contender import open_split
    from fasttrain.runtime import choose_device

    device = str(choose_device(device)[0])
    source = {"data": data, "image_size": image_size, "classes": classes, "limit": limit_train}
    split = open_split(**source)
    if max(batch_size) > len(split):
        raise ConfigError(f"--batch-size {max(batch_size)} is larger than the data ({len(split)} training images)")
    environment = results.environment(**source, images=len(split), repeats=repeats, seconds=seconds, seed=seed,
                                      page_cache="warm")
    warm_page_cache(split)
    rows = []
    for name in augment:
        for size in batch_size:
            setting = {"augment": AUGMENTS[name], "batch_size": size, "device": device, "source": source, "seed": seed,
                       "seconds": seconds}
            report(f"augment {name}, batch size {size}, {device}:")
            columns = {"augment": name, "batch_size": size, "device": device}
            rows += [{"loader": loader, **columns, **values}
                     for loader, values in compare(loaders, setting, repeats, report).items()]
    return {"environment": environment, "rows": rows}


def compare(loaders, setting, repeats, report):
    """Measures loaders in turns, in one setting: {loader: the measured values of its row}."""
    with contextlib.ExitStack() as stack:
        entrants = {name: Entrant(name) for name in loaders or LOADERS.names()}
        for entrant in entrants.values():
            entrant.start(setting, stack)
            if entrant.failure and loaders:
                raise ConfigError(entrant.note)
            report(f"  {entrant.note or f'{entrant.name}: built in {entrant.build_seconds:.1f} s'}")
        first = next((c for c in entrants.values() if not c.failure), None)
        for entrant in entrants.values():
            entrant.hold_against(first)
        for _ in range(repeats):
            for entrant in entrants.values():
                entrant.go()
        return {name: entrant.values() for name, entrant in entrants.items()}


class Entrant:
    """A loader with what it measured so far; one that failed stays out of further turns. note: what is to be said."""

    def __init__(self, name):
        self.name, self.worker, self.build_seconds, self.samples = name, None, None, []
        self.failure, self.note = False, ""

    def start(self, setting, stack):
        """Builds the loader in its process, which ends with `stack`."""
        with self.failing():
            self.worker = stack.enter_context(Worker(CONTENDER, {"loader": self.name, **setting}))
            self.build_seconds = self.worker.facts["build_seconds"]
            self.images = np.frombuffer(bytes.fromhex(self.worker.facts["images"]), np.uint8).astype(int)

    def hold_against(self, other):
        """Notes by how much the first images differ from those of another loader."""
        if not self.failure and (difference := np.abs(self.images - other.images).max()):
            self.note = f"loader {self.name}: differs from {other.name} by up to {difference} gray levels"

    def go(self):
        if not self.failure:
            with self.failing():
                self.samples.append(self.worker.measure())

    @contextlib.contextmanager
    def failing(self):
        try:
            yield
        except Failure as failure:
            self.failure, reason = True, str(failure)
            self.note = reason if reason.startswith("loader ") else f"loader {self.name}: {reason}"

    def values(self):
        """What the row says; a loader that failed, if only at the end, has no numbers."""
        if self.failure:
            return {"images_per_second": results.spread([]), "cpu_us_per_image": None, "build_seconds": None,
                    "peak_rss_bytes": None, "note": self.note}
        return {"images_per_second": results.spread(s["images"] / s["seconds"] for s in self.samples),
                "cpu_us_per_image": statistics.median(1e6 * s["cpu_seconds"] / s["images"] for s in self.samples),
                "build_seconds": self.build_seconds,
                "peak_rss_bytes": max(sample["peak_rss_bytes"] for sample in self.samples), "note": self.note}


def warm_page_cache(split):
    """Reads once what the loaders will read, so that no disk is measured."""
    for array in (split.pixels, split.jpeg):
        if array is not None:
            flat = array.reshape(-1)
            for start in range(0, len(flat), 1 << 26):
                flat[start:start + (1 << 26)].max()
