"""Finds run folders, reads them, and puts those together that may be compared."""

import json
import re
from collections import Counter
from pathlib import Path

from fasttrain.errors import DataError
from fasttrain.registry import ARCHS, HEADS
from fasttrain.runs.folder import PLACE, settings
from fasttrain.runs.run import load_run
from fasttrain.study.analysis.measures import resampled
from fasttrain.train.status import DONE

# What may differ between two runs that are compared: the variant and the seed, and what changes no result.
FREE = (*PLACE, "arch", "head", "seed", "loader", "device", "compile")
# What a report reads of each row; runs of older versions may lack others.
NEEDED = ("epoch", "step", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "val_macro_f1",
          "images_per_second", "seconds", "compile_seconds")


def find_folders(paths):
    """The run folders among `paths` and below them, each once, and a line for each path that holds none."""
    folders, left_out = {}, []
    for path in map(Path, paths):
        files = [path / "config.yaml"] if (path / "config.yaml").is_file() else sorted(
            [*path.rglob("config.yaml"), *path.rglob("metrics.jsonl")], key=natural)
        folders.update((file.parent.resolve(), file.parent) for file in files)
        if not files:
            left_out.append(f"{path}: " + ("holds no run folder" if path.is_dir() else "no such folder"))
    return list(folders.values()), left_out


def natural(path):
    """A key that sorts fast-2 before fast-10."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", str(path))]


def read_runs(folders):
    """The runs that can be told about, in the order of the registry, and a line for each one left out."""
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(checked(load_run(folder)))
        except DataError as error:
            left_out.append(str(error))
    runs, of_other_data = of_one_data_set(runs)
    return sorted(runs, key=rank), left_out + of_other_data


def rank(run):
    """Sorts runs by variant, recipe and seed."""
    config = run.config
    return ARCHS.names().index(config.arch), HEADS.names().index(config.head), config.recipe, config.seed


def checked(run):
    """The run, if there is a whole row for each of its epochs and its data is known; else DataError."""
    if not run.rows:
        raise DataError(f"{run.folder}: empty, no epoch was finished")
    for number, row in enumerate(run.rows, 1):
        if row["epoch"] != number or not all(isinstance(row.get(key), (int, float)) for key in NEEDED):
            raise DataError(f"{run.folder}: metrics.jsonl is damaged at epoch {number}")
    if not run.fingerprints:
        raise DataError(f"{run.folder}: nothing tells which images it saw (no checkpoint, none in env.json)")
    return run


def of_one_data_set(runs):
    """Those that were validated on the images that most of them have, and a line for each other one."""
    sets = Counter(run.fingerprints["val"] for run in runs)
    if not sets:
        return [], []
    most = sets.most_common(1)[0][0]
    return ([run for run in runs if run.fingerprints["val"] == most],
            [f"{run.folder}: was validated on other images than the other runs" for run in runs
             if run.fingerprints["val"] != most])


def conditions(run):
    """Everything in which two runs have to be equal before they are compared, as a flat dict."""
    return {**settings(run.config, without=FREE), "training images": run.fingerprints["train"]}


class Group:
    """Runs under equal conditions. label: the recipe's name, and in which way it differs from another group's."""

    def __init__(self, label, runs):
        self.label, self.runs = label, runs
        self.replicates = {}

    @property
    def archs(self):
        return list(dict.fromkeys(run.config.arch for run in self.runs))

    def finished(self, arch, head=None):
        """{seed: run} of a variant's finished runs; without a head, a list of the backbone's."""
        runs = [run for run in self.runs if run.config.arch == arch and run.status == DONE]
        return runs if head is None else {run.config.seed: run for run in runs if run.config.head == head}

    @property
    def classes(self):
        """How many classes there are; None where no run tells."""
        return self.runs[0].classes

    @property
    def chance(self):
        """The top-1 of guessing, in percent; None where it is not known."""
        return self.classes and 100 / self.classes

    def resampled(self, run):
        """What a bootstrap over the images makes of a run's scores, see `measures.resampled`; empty where it cannot."""
        if run.folder not in self.replicates:
            table = run.predictions
            able = table is not None and self.classes
            self.replicates[run.folder] = resampled(table, self.classes) if able else {}
        return self.replicates[run.folder]


def group(runs):
    """The runs by their conditions, a list of Groups, and a line for each run that repeats another one."""
    by_conditions, seen, repeated = {}, {}, []
    for run in runs:
        key = json.dumps(conditions(run))
        same = seen.setdefault((key, run.config.variant, run.config.seed), run)
        if same is run:
            by_conditions.setdefault(key, []).append(run)
        else:
            repeated.append(f"{run.folder}: the same variant, recipe and seed as {same.folder}")
    groups = list(by_conditions.values())
    return [Group(label(own, groups), own) for own in groups], repeated


def label(own, groups):
    """A group's recipe, with a stem that is not the standard one; where others have the same recipe, with the first
    keys in which they differ."""
    mine = conditions(own[0])
    rivals = [conditions(other[0]) for other in groups if other is not own
              and other[0].config.recipe == own[0].config.recipe]
    keys = [key for key in mine if any(rival[key] != mine[key] for rival in rivals)
            or (key == "stem" and mine[key] != "standard")]
    return mine["recipe"] + (f" ({', '.join(f'{key} {mine[key]}' for key in keys[:3])})" if keys else "")
