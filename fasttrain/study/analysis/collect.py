"""Finds run folders and reads the runs that a report can tell about."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fasttrain.errors import DataError
from fasttrain.registry import ARCHS, HEADS
from fasttrain.runs.run import Run, load_run

# What a report reads of each row; runs of older versions may lack others.
NEEDED = ("epoch", "step", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "val_macro_f1",
          "images_per_second", "seconds", "compile_seconds")


def find_folders(paths: Iterable[str | Path]) -> tuple[list[Path], list[str]]:
    """Returns the run folders among `paths` and below them, each once, and a line for each path that holds none."""
    folders, left_out = {}, []
    for path in map(Path, paths):
        files = [path / "config.yaml"] if (path / "config.yaml").is_file() else sorted(
            [*path.rglob("config.yaml"), *path.rglob("metrics.jsonl")], key=natural)
        folders.update((file.parent.resolve(), file.parent) for file in files)
        if not files:
            left_out.append(f"{path}: " + ("holds no run folder" if path.is_dir() else "no such folder"))
    return list(folders.values()), left_out


def natural(path: Path) -> list:
    """Returns a key that sorts fast-2 before fast-10."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", str(path))]


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Returns the runs that can be told about, in the order of the registry, and a line for each one left out."""
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(checked(load_run(folder)))
        except DataError as error:
            left_out.append(str(error))
    runs, of_other_data = of_one_data_set(runs)
    runs.sort(key=lambda run: (ARCHS.place(run.config.arch), HEADS.place(run.config.head), run.config.recipe,
                               run.config.seed))
    return runs, left_out + of_other_data


def checked(run: Run) -> Run:
    """Returns the run; DataError unless it has a whole row for each of its epochs and its data is known."""
    if not run.rows:
        raise DataError(f"{run.folder}: empty, no epoch was finished")
    for number, row in enumerate(run.rows, 1):
        if row["epoch"] != number or not all(isinstance(row.get(key), (int, float)) for key in NEEDED):
            raise DataError(f"{run.folder}: metrics.jsonl is damaged at epoch {number}")
    if not run.fingerprints:
        raise DataError(f"{run.folder}: nothing tells which images it saw (no checkpoint, none in env.json)")
    return run


def of_one_data_set(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Returns the runs validated on the images that most of them have, and a line for each other one."""
    sets = Counter(run.fingerprints["val"] for run in runs)
    most = sets.most_common(1)[0][0] if sets else None
    return ([run for run in runs if run.fingerprints["val"] == most],
            [f"{run.folder}: was validated on other images than most runs" for run in runs
             if run.fingerprints["val"] != most])
