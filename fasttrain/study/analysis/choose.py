"""What kind of report runs call for: the original's questions on heads, or what differs between any runs."""

import json
from collections.abc import Sequence

from fasttrain.config import RunConfig
from fasttrain.runs.run import Run
from fasttrain.runs.settings import settings
from fasttrain.study.analysis.ablation import build_ablation
from fasttrain.study.analysis.compare import HEADS
from fasttrain.study.analysis.groups import FREE
from fasttrain.study.analysis.ranking import build_ranking


def build(runs: Sequence[Run], planned: Sequence[RunConfig] = (), left_out: Sequence[str] = (),
          failures: dict[str, str] | None = None) -> dict:
    """Returns the content of ablation.json: that of `build_ablation` or of `build_ranking`."""
    asked = is_study_of_heads([*(run.config for run in runs), *planned])
    return (build_ablation if asked else build_ranking)(runs, planned, left_out, failures)


def is_study_of_heads(configs: Sequence[RunConfig]) -> bool:
    """Whether configs ask the original's questions: two of its heads in one backbone, or one variant alone, and nothing
    else that differs but backbone, stem, recipe and seed."""
    heads, conditions = {}, {}
    for config in configs:
        heads.setdefault(config.arch, set()).add(config.head)
        conditions.setdefault((config.recipe, config.stem), set()).add(json.dumps(settings(config, without=FREE)))
    alone = len(heads) == len(conditions) == 1
    return (any(len(own.intersection(HEADS)) > 1 or alone and len(own) == 1 for own in heads.values())
            and all(len(own) == 1 for own in conditions.values()))
