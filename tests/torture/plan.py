"""Which promises are tried, how often, and by what."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.torture import crashes, damage, faults, inputs, kills, ranks, signals, soak
from tests.torture.children import child
from tests.torture.subjects import Run, draw_tree, use_cache
from tests.torture.table import Tally

Work = Callable[[Tally, Path], None]


def promises(arguments: argparse.Namespace, place: Path) -> Iterator[tuple[Tally, Work]]:
    """Yields each promise, and what tries it in a folder of its own."""
    torch.set_num_threads(1)
    use_cache(place / "cache")
    tree, seed, many, failing = draw_tree(place / "tree"), arguments.seed, arguments.kills, arguments.faults
    runs = place / "runs"
    soak.soak("resident", 2)  # numba's kernels are loaded before anything is forked
    for number in range(2):  # the first one packs the data, so that those that follow are equal
        run = Run(runs / f"run{number}")
        child(run, run.folder)
    yield (Tally("kills", "A run that is killed at any instant has checkpoints that load, loses no save, ends equal"),
           lambda t, p: kills.kill_runs(t, many, seed, p))
    yield (Tally("pack-kills", "Packing that is killed leaves no half pack; the next attempt makes the whole one"),
           lambda t, p: kills.kill_packs(t, -(-many // 10), seed, p, tree))
    yield (Tally("report-kills", "A report that is killed is written whole by the next attempt"),
           lambda t, p: kills.kill_reports(t, -(-many // 50), seed, p, runs))
    yield (Tally("power", "After a power failure between any two calls every save that was done is there"),
           lambda t, p: crashes.fail_power(t, failing // 2, seed, p))
    yield (Tally("faults", "A write, flush, rename or new file that fails is one line; the next attempt ends equal"),
           lambda t, p: faults.fail_runs(t, -(-failing * 3 // 20), seed, p))
    yield (Tally("pack-faults", "The same for packing"),
           lambda t, p: faults.fail_packs(t, -(-failing // 20), seed, p, tree))
    yield (Tally("writes", "The writer that fails leaves the old content or the new, and nothing beside it"),
           lambda t, p: faults.fail_writes(t, failing * 4 // 5, seed, p))
    yield (Tally("damage", "Every flipped bit and every cut of a file is found"),
           lambda t, p: damage.corrupt_files(t, -(-failing // 5), seed, p, tree))
    yield (Tally("resume", "A run goes on with any one file lost, cut or flipped, and ends equal"),
           lambda t, p: damage.resume_damaged(t, -(-many // 5), seed, p))
    yield (Tally("images", "A damaged image decodes to a picture or is refused"),
           lambda t, p: inputs.fuzz_images(t, failing, seed, p))
    yield (Tally("names", "Packing names every image that cannot be read"),
           lambda t, p: inputs.name_bad_images(t, -(-many // 50), seed, p, tree))
    yield (Tally("configurations", "A wrong configuration is one line within 0.3 s, and nothing is created"),
           lambda t, p: inputs.refuse_configurations(t, -(-failing // 10), seed, p))
    yield (Tally("signals", "A signal saves within 5 s, and the run then ends equal"),
           lambda t, p: signals.stop_runs(t, -(-many // 20), seed, p))
    yield (Tally("soak", "Memory, descriptors, threads and shared memory of a loader do not grow"),
           lambda t, p: soak.soak_loaders(t, 2 * many, p))
    if arguments.ranks:
        yield (Tally("ranks", f"One of {arguments.ranks} processes that dies, hangs or gets a signal ends all in time; "
                              "the next attempt, or a restart, ends equal"),
               lambda t, p: ranks.harm_ranks(t, -(-many // 50), arguments.ranks, seed, p))
