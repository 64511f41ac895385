"""A power failure at any instant of a save: what was not flushed may be gone, what was renamed may be there or not.

kill -9 keeps the page cache, so it cannot show a missing flush. Here the calls of some saves are recorded with their
bytes, and every state that a disk may be in after a failure between two of them is built and read.
"""

import random
import shutil
from pathlib import Path

import torch

from fasttrain.errors import FasttrainError
from fasttrain.train.checkpoint import Checkpoints
from tests.torture.children import child
from tests.torture.table import Tally
from tests.torture.watch import Call

SAVES = 4


def save_some(folder: Path) -> int:
    """Saves one epoch after the other; a folder that is made tells when each save was done."""
    checkpoints = Checkpoints(folder / "checkpoints")
    for epoch in range(1, SAVES + 1):
        names = ("last", "best") if epoch % 2 else ("last",)
        weights = {"weight": torch.full((500,), float(epoch))}
        checkpoints.save(names, {"model": weights, "epoch": epoch, "step_in_epoch": 0})
        (folder / f"done{epoch}").mkdir()
    return 0


class Disk:
    """A disk after some calls: files by name, now and when their folder was last flushed, and their bytes.

    names, flushed_names: path to file number. contents, flushed: file number to bytes.
    """

    def __init__(self):
        self.names: dict[Path, int] = {}
        self.flushed_names: dict[Path, int] = {}
        self.contents: dict[int, bytes] = {}
        self.flushed: dict[int, bytes] = {}

    def apply(self, call: Call) -> None:
        """Does what one recorded call did."""
        path = call.path
        if call.name == "open":
            self.names.setdefault(path, len(self.contents))
            self.contents[self.names[path]] = b""
        elif call.name == "write":
            self.contents[self.names[path]] += call.data
        elif call.name == "fsync" and path in self.names:
            self.flushed[self.names[path]] = self.contents[self.names[path]]
        elif call.name == "fsync":
            inside = {name for name in {*self.names, *self.flushed_names} if name.parent == path}
            self.flushed_names = {name: number for name, number in self.flushed_names.items() if name not in inside}
            self.flushed_names |= {name: self.names[name] for name in inside & self.names.keys()}
        elif call.name == "rename":
            self.names[call.other] = self.names.pop(path)
        elif call.name == "link":
            self.names[call.other] = self.names[path]
        elif call.name == "unlink":
            self.names.pop(path, None)

    def after_failure(self, rng: random.Random) -> dict[Path, bytes]:
        """Returns one state that the disk may be in: each name as it is or as it was flushed, what was not in part."""
        found = {}
        for path in {*self.names, *self.flushed_names}:
            kept = self.names if rng.random() < 0.5 else self.flushed_names
            if path in kept:
                number = kept[path]
                whole, sure = self.contents[number], self.flushed.get(number)
                found[path] = sure if sure is not None else whole[:rng.choice((0, len(whole) // 2, len(whole)))]
        return found


def fail_power(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Builds `count` states after a failure and reads each: every save that was done is there."""
    folder = place / "saved"
    folder.mkdir(parents=True)
    ended = child(lambda: save_some(folder), folder, with_bytes=True)
    for trial in range(count):
        rng = random.Random(f"{seed} power {trial}")
        until, disk, done = rng.randrange(len(ended.calls) + 1), Disk(), 0
        for call in ended.calls[:until]:
            if call.name == "mkdir" and call.path.name.startswith("done"):
                done = int(call.path.name.removeprefix("done"))
            disk.apply(call)
        crashed = place / "crashed"
        shutil.rmtree(crashed, ignore_errors=True)
        (crashed / "checkpoints").mkdir(parents=True)
        for path, content in disk.after_failure(rng).items():
            (crashed / path.relative_to(folder)).write_bytes(content)
        tally.counts[ended.calls[until - 1].name if until else "nothing"] += 1
        tally.check(f"state {trial} after {until} calls", lost(Checkpoints(crashed / "checkpoints"), done))


def lost(checkpoints: Checkpoints, done: int) -> str | None:
    """Returns what is missing of `done` saves; None if nothing is."""
    try:
        states, _ = checkpoints.load_all()
    except FasttrainError as error:
        return f"unreadable: {error}"
    epoch = max((state["epoch"] for state in states.values()), default=0)
    wrong = [name for name, state in states.items() if not (state["model"]["weight"] == state["epoch"]).all()]
    if wrong:
        return f"mixed: {wrong}"
    return f"{done} saves were done, the newest that can be read is number {epoch}" if epoch < done else None
