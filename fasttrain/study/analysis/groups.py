"""Puts together the runs that may be compared: those under equal conditions."""

import json
from collections.abc import Sequence

import numpy as np

from fasttrain.runs.run import Run
from fasttrain.runs.settings import PLACE, settings
from fasttrain.study.analysis.measures import Milestones, resampled, scores
from fasttrain.train.status import DONE

# What may differ between two runs of one setting: the seed, and what changes no result.
SAME_SETTING = (*PLACE, "seed", "loader", "device", "compile")
# What may differ between two runs that are compared: the variant too.
FREE = (*SAME_SETTING, "arch", "head")


class Group:
    """Runs under equal conditions.

    label: the recipe's name, and in which way it differs from another group's. milestones: by backbone with a finished
    run.
    """

    def __init__(self, label: str, runs: Sequence[Run]):
        self.label, self.runs = label, runs
        self.milestones = {arch: Milestones.of(self.finished(arch)) for arch in self.finished_archs}
        self._scores, self._resampled = {}, {}

    @property
    def archs(self) -> list[str]:
        """The backbones of the group, each once."""
        return list(dict.fromkeys(run.config.arch for run in self.runs))

    @property
    def finished_archs(self) -> list[str]:
        """The backbones of which a run finished."""
        return [arch for arch in self.archs if self.finished(arch)]

    def finished(self, arch: str) -> list[Run]:
        """Returns the finished runs of a backbone."""
        return [run for run in self.runs if run.config.arch == arch and run.status == DONE]

    def by_head(self, arch: str) -> dict[str, dict[int, Run]]:
        """Returns the finished runs of a backbone as {head: {seed: run}}."""
        found = {}
        for run in self.finished(arch):
            found.setdefault(run.config.head, {})[run.config.seed] = run
        return found

    @property
    def classes(self) -> int | None:
        """How many classes there are; None where no run tells."""
        return self.runs[0].classes

    @property
    def chance(self) -> float | None:
        """The top-1 of guessing, in percent; None where it is not known."""
        return self.classes and 100 / self.classes

    def scores(self, run: Run) -> dict[str, float]:
        """Returns every metric of a finished run of this group, see `measures.scores`."""
        if run.folder not in self._scores:
            self._scores[run.folder] = scores(run, self.milestones[run.config.arch])
        return self._scores[run.folder]

    def resampled(self, run: Run) -> dict[str, np.ndarray]:
        """Returns what a bootstrap over the images makes of a run's scores; empty where its predictions are missing."""
        if run.folder not in self._resampled:
            table = run.predictions
            self._resampled[run.folder] = {} if table is None else resampled(table, self.classes)
        return self._resampled[run.folder]


def group_runs(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    """Returns the runs by their conditions, and a line for each run that repeats another one."""
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


def conditions(run: Run) -> dict:
    """Returns everything in which two runs have to be equal before they are compared, flat."""
    return {**settings(run.config, without=FREE), "training images": run.fingerprints["train"]}


def label(own: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    """Returns the name of a group: its recipe, a stem that is not the standard one, and the first keys in which it
    differs from other groups of that recipe, as many as tell it from each of them."""
    mine = conditions(own[0])
    rivals = [conditions(other[0]) for other in groups if other is not own
              and other[0].config.recipe == own[0].config.recipe]
    keys = [key for key in mine if any(rival.get(key) != mine[key] for rival in rivals)
            or (key == "stem" and mine[key] != "standard")]
    shown = 3
    while shown < len(keys) and any(all(rival.get(key) == mine[key] for key in keys[:shown]) for rival in rivals):
        shown += 1  # another group would have the same name
    return mine["recipe"] + (f" ({', '.join(f'{key} {mine[key]}' for key in keys[:shown])})" if keys else "")
