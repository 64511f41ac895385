"""`fasttrain bench loader`: the same batches from every loader, and what they cost in time, CPU and memory.

The loaders are built one after the other and then measured in turns. The page cache is warm.
"""

import argparse
import contextlib
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from fasttrain.checks import choice, integer, number, optional
from fasttrain.data.split import Split
from fasttrain.errors import ConfigError
from fasttrain.perf.bench import results
from fasttrain.perf.bench.race import Contender, take_turns
from fasttrain.registry import LOADERS

CONTENDER = "fasttrain.perf.bench.loader_contender:LoaderContender"
AUGMENTS = {
    "none": {},
    "crop-flip": {"crop_padding": 4, "flip": "random"},
    "rrc": {"rrc_scale": 0.25, "flip": "random"},
}


def some_of(check: Callable) -> Callable:
    """Returns a check that turns words with commas between them into a list, each word through `check`."""
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
    "threads": ("N", None, optional(integer(1, 1024)), "of a loader that has some; default one for each core"),
    "repeats": ("N", 5, integer(1), "measurements of each loader"),
    "seconds": ("S", 2, number(0, 60, above=True), "about how long each takes"),
}


FURTHER_FLAGS = {"loaders": ["--loader"]}  # as the other commands call it


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the flags of `fasttrain bench loader`."""
    for name, (metavar, default, _, text) in OPTIONS.items():
        suffix = "" if default is None else f"; default {default}"
        command.add_argument(*FURTHER_FLAGS.get(name, []), f"--{name.replace('_', '-')}", dest=name, metavar=metavar,
                             default=default, help=text + suffix)


def options(arguments: argparse.Namespace) -> dict:
    """Returns the arguments of `bench_loader` by parsed flags; raises ConfigError for what cannot work."""
    return {name: check(f"--{name.replace('_', '-')}", getattr(arguments, name))
            for name, (_, _, check, _) in OPTIONS.items()}


def bench_loader(loaders: list[str] | None = None, augment: Sequence[str] = ("crop-flip",),
                 batch_size: Sequence[int] = (256,), data: str | None = None, image_size: int = 64,
                 classes: int | None = None, limit_train: int | None = None, device: str = "auto",
                 threads: int | None = None, repeats: int = 5, seconds: float = 2.0, seed: int = 0,
                 report: Callable[[str], None] = print) -> dict:
    """Measures loaders on the training images of `data`; returns {"environment": {...}, "rows": [a dict for each]}.

    loaders: names; one that cannot run here raises ConfigError. None: all, and one that cannot run gets a row without
    numbers that says why in "note". augment: keys of AUGMENTS. report: gets a line for each step of the work. In a row,
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
                                      page_cache="warm", threads=threads)
    warm_page_cache(split)
    rows = []
    for name in augment:
        for size in batch_size:
            setting = {"augment": AUGMENTS[name], "batch_size": size, "device": device, "source": source, "seed": seed,
                       "seconds": seconds, "threads": threads}
            report(f"augment {name}, batch size {size}, {device}:")
            columns = {"augment": name, "batch_size": size, "device": device}
            rows += [{"loader": loader, **columns, **values}
                     for loader, values in compare(loaders, setting, repeats, report).items()]
    return {"environment": environment, "rows": rows}


def compare(loaders: list[str] | None, setting: dict, repeats: int, report: Callable[[str], None]) -> dict[str, dict]:
    """Races loaders in one setting; returns {loader: the measured values of its row}."""
    contenders = [Contender(name, CONTENDER, {"loader": name, **setting}) for name in loaders or LOADERS.names()]
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            contender.start(stack)
            if contender.failure and loaders:
                raise ConfigError(failure_note(contender))
            report("  " + (failure_note(contender) if contender.failure else
                           f"{contender.name}: built in {contender.facts['build_seconds']:.1f} s"))
        for contender in take_turns(contenders, repeats):
            if contender.failure:
                report(f"  {failure_note(contender)}")
    first = next((contender for contender in contenders if contender.worker), None)
    return {contender.name: values_of(contender, first) for contender in contenders}


def values_of(contender: Contender, first: Contender) -> dict:
    """Returns what the row says; a loader that failed, if only at the end, has no numbers.

    The note tells why it failed, or how its first images differ from those of the loader `first`.
    """
    if contender.failure:
        return {"images_per_second": results.spread([]), "cpu_us_per_image": None, "build_seconds": None,
                "peak_rss_bytes": None, "note": failure_note(contender)}
    samples = contender.samples
    return {"images_per_second": results.spread(contender.speeds),
            "cpu_us_per_image": statistics.median(1e6 * s["cpu_seconds"] / s["images"] for s in samples),
            "build_seconds": contender.facts["build_seconds"],
            "peak_rss_bytes": max(sample["peak_rss_bytes"] for sample in samples),
            "note": difference_note(contender, first)}


def failure_note(contender: Contender) -> str:
    """Returns why a loader failed, with its name in front."""
    reason = str(contender.failure)
    return reason if reason.startswith("loader ") else f"loader {contender.name}: {reason}"


def difference_note(contender: Contender, other: Contender) -> str:
    """Returns by how much the first images of two loaders differ; nothing where they do not."""
    ours, theirs = (np.frombuffer(bytes.fromhex(c.facts["images"]), np.uint8).astype(int) for c in (contender, other))
    difference = np.abs(ours - theirs).max()
    return f"loader {contender.name}: differs from {other.name} by up to {difference} gray levels" if difference else ""


def warm_page_cache(split: Split) -> None:
    """Reads once what the loaders will read, so that no disk is measured."""
    for array in (split.pixels, split.jpeg):
        if array is not None:
            flat = array.reshape(-1)
            for start in range(0, len(flat), 1 << 26):
                flat[start:start + (1 << 26)].max()
