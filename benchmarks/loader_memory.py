"""Sends 100,000 images through every loader: the memory that it holds may not grow by more than a few batches.

    python benchmarks/loader_memory.py [--data PATH] [--images 100000]
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.perf.bench.loader import AUGMENTS
from fasttrain.perf.bench.loader_contender import open_split, proc_bytes
from fasttrain.registry import LOADERS

BATCH_SIZE, BATCHES = 256, 5  # loaders work two or three batches ahead


def held() -> int:
    """Returns the bytes that this process and its children hold for themselves.

    Leaves out the pack, which the system reads and drops as it likes, and freed blocks that the C library keeps (up to
    some 80 MB, from the first few thousand images on).
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    own = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    return sum(proc_bytes(f"{pid}/smaps_rollup", kind) for pid in own for kind in ("Anonymous", "Pss_Shmem"))


def deliver(loader, images: int, epoch: int) -> int:
    """Takes about that many images, to within a batch; returns the next epoch."""
    while images > 0:
        loader.set_epoch(epoch)
        epoch += 1
        for batch in loader:
            images -= batch.valid
            if images <= 0:
                break
    return epoch


def measure(name: str, data: str | None, images: int) -> list[int]:
    """Returns the bytes held after a tenth of `images`, to warm up, and then after each tenth of them."""
    split = open_split(data, 64, None, None)
    loader = loaders.build(name, LoaderSpec(split, BATCH_SIZE, True, drop_last=True,
                                            augment=Augment(**AUGMENTS["crop-flip"])))
    epoch, found = 0, []
    for _ in range(11):
        epoch = deliver(loader, images // 10, epoch)
        found.append(held())
    loader.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    bound, failed = BATCHES * BATCH_SIZE * 64 * 64 * 3, False
    for name in LOADERS.names():
        if reason := loaders.missing(name):
            print(f"{name:<9} {reason}")
            continue
        # each has a process of its own, which may start workers
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            first, *later = pool.submit(measure, name, arguments.data, arguments.images).result()
        growth = max(later) - first
        failed |= growth > bound
        print(f"{name:<9} holds {first / 1e6:6.1f} MB, then {growth / 1e6:+6.1f} MB at most "
              f"in {arguments.images:,} images (bound {bound / 1e6:.1f} MB)", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
