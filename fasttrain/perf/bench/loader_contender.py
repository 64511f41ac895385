"""A loader as a contender: its process has its threads, CPU time and peak of memory to itself."""

import multiprocessing
import os
import time
from pathlib import Path

import torch

from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.data.split import Split
from fasttrain.workers import stat

SAMPLES = 8  # images of the first batch that the parent holds against those of other loaders


class LoaderContender:
    """Delivers batches as fast as the loader can.

    source: arguments of `open_split`. augment: keys of an Augment. seconds: about how long a measurement takes. facts:
    "build_seconds", from construction to the first batch; "images", the first ones, as hexadecimal digits.
    """

    def __init__(self, loader: str, augment: dict, batch_size: int, device: str, source: dict, seed: int,
                 seconds: float, threads: int | None = None):
        split = open_split(**source)
        self.device, self.epoch = torch.device(device), 0
        self.synchronize()
        started = time.perf_counter()
        self.loader = loaders.build(loader, LoaderSpec(split, batch_size, train=True, seed=seed, drop_last=True,
                                                       augment=Augment(**augment), device=self.device, threads=threads))
        images = next(iter(self.loader)).images.cpu()
        self.facts = {"build_seconds": time.perf_counter() - started,
                      "images": images[:SAMPLES].numpy().tobytes().hex()}
        self.calibrate(seconds)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def calibrate(self, wanted: float) -> None:
        """Warms up and sets the steps of a measurement: doubles them until they take half the time wanted."""
        self.steps, seconds = 1, 0.0
        while seconds < wanted / 2:
            self.steps *= 2
            seconds = self.measure()["seconds"]
        self.steps = max(1, round(self.steps * wanted / seconds))

    def measure(self) -> dict:
        """Returns "images", "seconds" and "cpu_seconds" of one measurement, and "peak_rss_bytes" so far.

        Each pass runs to the end of its epoch, and may start in the middle of it, so that nothing is decoded ahead when
        the clocks stop.
        """
        left, images, whole = self.steps, 0, len(self.loader)
        cpu, started = cpu_seconds(), time.perf_counter()
        while left:
            steps = min(left, whole)
            self.loader.set_epoch(self.epoch, whole - steps)
            self.epoch += 1
            for batch in self.loader:
                images += batch.valid
            left -= steps
        self.synchronize()
        return {"images": images, "seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu,
                "peak_rss_bytes": peak_rss_bytes()}


def open_split(data: str | None, image_size: int, classes: int | None, limit: int | None) -> Split:
    """Returns the training Split of what `--data` names, packed on first use."""
    return open_pack(open_source(data), image_size).split("train", classes, limit)


def cpu_seconds() -> float:
    """Returns the CPU time of this process, all threads, and of its living children, such as a DataLoader's workers."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = stat(child.pid)
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def peak_rss_bytes() -> int:
    """Returns the peak of resident memory of this process plus what its children now hold for themselves.

    Mapped pages of the pack count. The kernel keeps this peak for the program alone; getrusage starts from that of the
    parent process.
    """
    own = proc_bytes("self/status", "VmHWM")
    return own + sum(proc_bytes(f"{child.pid}/smaps_rollup", "Private_") for child in multiprocessing.active_children())


def proc_bytes(file: str, prefix: str) -> int:
    """Returns the sum of the lines of a file of /proc that start with `prefix`, which are in kB."""
    lines = Path("/proc", file).read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(prefix))
