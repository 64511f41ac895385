"""One flipped bit or a cut in any file that a run or a pack depends on: found, or of no consequence."""

import os
import random
import shutil
from pathlib import Path

from fasttrain import seal
from fasttrain.data.pack import open_pack, verify
from fasttrain.data.sources import open_source
from fasttrain.errors import FasttrainError
from fasttrain.runs.run import damage as damaged_files
from fasttrain.runs.settings import recovered_config
from fasttrain.train.checkpoint import NAMES, Checkpoints
from tests.torture.children import child
from tests.torture.kills import ending
from tests.torture.subjects import Pack, Run
from tests.torture.table import Tally


def corrupt_files(tally: Tally, count: int, seed: int, place: Path, tree: Path) -> None:
    """Flips one bit, or cuts, `count` times; whatever reads the file has to notice."""
    run, pack = Run(place / "run"), Pack(tree, place / "cache")
    child(run, run.folder), child(pack, pack.folder)
    readers = {run.folder / "checkpoints" / f"{name}.pt": reads_checkpoint for name in NAMES}
    readers |= {run.folder / "checkpoints" / "manifest.json": reads_manifest, run.folder / "config.yaml": reads_config,
                run.folder / "env.json": reads_environment, run.folder / "metrics.jsonl": reads_rows}
    packed = next((pack.folder / "packs").glob("*/manifest.json")).parent
    readers |= {path: lambda _: reads_pack(pack) for path in sorted(packed.rglob("*")) if path.is_file()}
    whole = {path: path.read_bytes() for path in readers}
    for path, reads in readers.items():
        if fault := reads(path):
            tally.check(f"{path.name} as it was", f"refused: {fault}")
    for trial in range(count):
        rng = random.Random(f"{seed} damage {trial}")
        path = rng.choice(list(readers))
        content, stamp = whole[path], path.stat()
        cut = rng.random() < 0.5
        damaged = content[:rng.randrange(len(content))] if cut else flipped(content, rng)
        path.write_bytes(damaged)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a disk that rots tells no time
        kind = path.name if path.is_relative_to(run.folder) else "pack"
        tally.counts[f"{kind} {'cut' if cut else 'flipped'}"] += 1
        tally.check(f"trial {trial}, {path.name}", None if readers[path](path) else "not found")
        path.write_bytes(content)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Returns the content with one bit the other way."""
    changed, at = bytearray(content), rng.randrange(len(content))
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


# Each returns what the reader of a file says of its damage; None where it takes the file as whole.


def reads_checkpoint(path: Path) -> str | None:
    try:
        Checkpoints(path.parent).load(path.stem)
    except FasttrainError as error:
        return str(error)


def reads_manifest(path: Path) -> str | None:
    try:
        Checkpoints(path.parent).read_manifest()
    except FasttrainError as error:
        return str(error)


def reads_config(path: Path) -> str | None:
    try:
        return recovered_config(path.parent)[1]
    except FasttrainError as error:
        return str(error)


def reads_environment(path: Path) -> str | None:
    try:
        seal.open_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return str(error)


def reads_rows(path: Path) -> str | None:
    rows = Checkpoints(path.parent / "checkpoints").load("last")["rows"]
    return "; ".join(damaged_files(path.parent, rows)) or None


def reads_pack(pack: Pack) -> str | None:
    try:
        verify(open_pack(open_source(str(pack.tree)), 32, cache=pack.folder, on_message=lambda text: None))
    except FasttrainError as error:
        return str(error)


def resume_damaged(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Damages one file of a run that was killed in its third epoch: it goes on, and ends as if nothing had been."""
    whole, killed = Run(place / "whole"), Run(place / "killed")
    child(whole, whole.folder)
    expected = whole.result()
    child(killed, killed.folder, after=0.0, when=lambda calls: sum(c.other.name == "last.pt" for c in calls) >= 2)
    files = [path for path in sorted(killed.folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    for trial in range(count):
        rng = random.Random(f"{seed} resume {trial}")
        path, harm = rng.choice(files), rng.choice(("lost", "cut", "flipped"))
        run = Run(place / "run")
        shutil.rmtree(run.folder, ignore_errors=True)
        shutil.copytree(killed.folder, run.folder)
        target, content = run.folder / path.relative_to(killed.folder), path.read_bytes()
        if harm == "lost":
            target.unlink()
        else:
            target.write_bytes(content[:len(content) // 2] if harm == "cut" or not content else flipped(content, rng))
        last = child(run, run.folder)
        tally.counts[f"{path.name} {harm}"] += 1
        tally.check(f"trial {trial}, {path.name} {harm}", ending(run, last, expected))
