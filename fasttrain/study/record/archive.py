"""The folders of records: benchmarks/records/<category>/<date>-<name>/."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError, DataError
from fasttrain.storage import write_atomically
from fasttrain.study.record.categories import Category
from fasttrain.study.record.trial import Trial
from fasttrain.study.record.verdict import Test
from fasttrain.train.rows import MEASURED, read_rows

# of a run folder: what a record keeps
KEPT = {"metrics.jsonl": "rows-{seed}.jsonl", "log.txt": "log-{seed}.txt"}
# keys of a configuration that say where and how a run is carried out, not what it computes
PLACE = ("data", "out", "resume", "seed", "device", "threads", "save_every")


@dataclass(frozen=True)
class Record:
    """A record that stands or stood. settings: the keys of its RunConfig. environment: versions and machine."""

    folder: Path
    settings: dict[str, Any]
    environment: dict[str, Any]
    trials: list[Trial]

    def config(self, **place: Any) -> RunConfig:
        """Returns the RunConfig of the record with the keys of PLACE as given."""
        return RunConfig(**{**self.settings, **place})


def records(folder: Path, category: Category) -> list[Record]:
    """Returns the records of a category, the one that stands last; DataError for a folder that cannot be read."""
    found = []
    for path in sorted((folder / category.name).glob("*/record.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            settings = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
            found.append(Record(path.parent, settings, content["environment"],
                                [Trial(**one) for one in content["trials"]]))
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise DataError(f"{path.parent}: no whole record ({type(error).__name__}); restore it from git") from None
    return found


def new_folder(folder: Path, category: Category, name: str) -> Path:
    """Returns where a record goes; ConfigError where there is one."""
    path = folder / category.name / f"{datetime.date.today()}-{name}"
    if path.exists():
        raise ConfigError(f"{path}: is there already; choose another --name")
    return path


def write(path: Path, category: Category, measure: str, config: RunConfig, environment: dict[str, Any],
          trials: Sequence[Trial], tests: Iterable[Test], runs: Sequence[Path]) -> None:
    """Writes a record: its verdict last, so that a folder without one is none. runs: the run folders, seed by seed."""
    path.mkdir(parents=True)
    settings = {key: value for key, value in config.to_dict().items() if key not in PLACE}
    write_atomically(path / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    for one, run in zip(trials, runs, strict=True):
        for source, target in KEPT.items():
            if (run / source).exists():
                shutil.copyfile(run / source, path / target.format(seed=one.seed))
    content = {"category": category.name, "rule": category.rule, "measure": measure, "environment": environment,
               "tests": [asdict(test) for test in tests], "trials": [asdict(one) for one in trials]}
    write_atomically(path / "record.json", json.dumps(content, indent=1) + "\n")


def same_rows(record: Record, seed: int, run: Path) -> bool:
    """Whether a run repeated the rows that a record keeps of a seed, except for what they measure."""
    kept, found = ([{key: value for key, value in row.items() if key not in MEASURED} for row in read_rows(path)]
                   for path in (record.folder / KEPT["metrics.jsonl"].format(seed=seed), run / "metrics.jsonl"))
    return bool(kept) and kept == found
