"""Runs a challenger and the holder of a record in turns, seed by seed, and says who holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fasttrain.config import RunConfig, fit_to_data
from fasttrain.data.pack import open_splits
from fasttrain.data.split import Split
from fasttrain.environment import versions
from fasttrain.errors import ConfigError, DataError
from fasttrain.runtime import native_bf16, resolve
from fasttrain.study import worker
from fasttrain.study.record import archive
from fasttrain.study.record.categories import Category
from fasttrain.study.record.trial import Trial, pflop, trial
from fasttrain.study.record.verdict import judge

ORIGINAL_CLASSES = 200


def challenge(category: Category, config: RunConfig, name: str, folder: Path, seeds: int,
              say: Callable[[str], None] = print) -> bool:
    """Returns whether the challenger holds the record now; if so its folder is written. say: gets lines for the user.

    config: the challenger. Its trials and the holder's lie below `config.out`, and are not repeated. Raises
    ConfigError for a tree with changes, for other data than the whole set and for a run that the category does not
    allow.
    """
    environment = versions()
    refuse_changes(environment)
    path = archive.new_folder(folder, category, name)
    config, train = fitted(config, category)
    measure = "seconds" if native_bf16(resolve(config).device) else "pflop"
    earlier = archive.records(folder, category)
    holder = earlier[-1] if earlier else None
    say(f"{category.name}: {category.rule}; cost in {measure}; "
        + (f"the holder is {holder.folder.name}" if holder else "the first entry"))
    mine, theirs = [], []
    with worker.Stop().listening() as stop:
        for seed in range(seeds):
            turns = [(mine, config, name)]
            if holder:
                place = {key: getattr(config, key) for key in ("data", "device", "threads")}
                turns.append((theirs, holder.config(**place), "holder"))
            for trials, whose, who in turns if seed % 2 == 0 else reversed(turns):
                out = Path(config.out) / f"{who}-{seed}"
                trials.append(trial(whose.replace(seed=seed, out=str(out), resume="never"), train, stop))
                say(line(who, trials[-1]))
    tests = judge(category, measure, mine, theirs if holder else None,
                  [[one.top1 for one in record.trials] for record in earlier], limit(category, config, train))
    for test in tests:
        say(f"  {'passed' if test.passed else 'FAILED'}: {test.name}: {test.figure}"
            + (f", p = {test.p:.2g}" if test.p is not None else ""))
    accepted = all(test.passed for test in tests)
    if accepted:
        runs = [Path(config.out) / f"{name}-{one.seed}" for one in mine]
        archive.write(path, category, measure, config, environment, mine, tests, runs)
    say(f"{name} {'holds the record now: ' + str(path) if accepted else 'does not hold the record'}")
    return accepted


def replay(category: Category, folder: Path, place: dict, say: Callable[[str], None] = print) -> bool:
    """Runs the first seed of the record that stands again; returns whether its rows are equal to the bit.

    place: `data` and `out`, keys of a RunConfig. They can be equal with the same processor, threads and torch only.
    """
    kept = archive.records(folder, category)
    if not kept:
        raise ConfigError(f"{folder / category.name}: holds no record yet")
    record, seed = kept[-1], kept[-1].trials[0].seed
    config, train = fitted(record.config(**place), category)
    out = Path(place["out"]) / f"replay-{record.folder.name}-{seed}"
    with worker.Stop().listening() as stop:
        found = trial(config.replace(seed=seed, out=str(out), resume="never"), train, stop)
    say(line(f"replay of {record.folder.name}", found))
    equal = archive.same_rows(record, seed, out)
    others = differences(record.environment, versions())
    say(f"rows {'equal' if equal else 'differ'}" + (f"; the machine differs: {'; '.join(others)}" if others else ""))
    return equal


def differences(then: dict, now: dict) -> list[str]:
    """Returns in words where two environments differ in what decides the bits of a row."""
    facts = [{"cpu": one["cpu"], "cores": one["cores"], "torch": one["packages"]["torch"]} for one in (then, now)]
    return [f"{key} {facts[0][key]} then, {facts[1][key]} now" for key in facts[0] if facts[0][key] != facts[1][key]]


def refuse_changes(environment: dict) -> None:
    """Raises ConfigError unless the code is a commit without changes, which others can check out."""
    commit = environment["commit"]
    if commit is None:
        raise ConfigError("record: needs a git checkout of fasttrain, so that the record names its commit")
    if commit.endswith("-dirty"):
        raise ConfigError(f"record: the checkout differs from commit {commit.removesuffix('-dirty')}: commit or stash")


def fitted(config: RunConfig, category: Category) -> tuple[RunConfig, Split]:
    """Returns the config with numbers for batch size and rate, and the training images, packed.

    Raises ConfigError for what no record allows, or for more epochs than the category does, DataError for another set
    than Tiny-ImageNet's.
    """
    train, _ = open_splits(config)
    if train.num_classes != ORIGINAL_CLASSES:
        raise DataError(f"--data {config.data}: has {train.num_classes} classes; records are on all "
                        f"{ORIGINAL_CLASSES} of Tiny-ImageNet")
    config = fit_to_data(config, len(train))
    for name in ("weights", "patience"):
        if getattr(config, name):
            raise ConfigError(f"{name}: records are of whole runs from a start of their own: leave it out")
    if category.epochs and config.epochs > category.epochs:
        raise ConfigError(f"epochs: {config.epochs} are more than the {category.epochs} of {category.name}")
    return config, train


def limit(category: Category, config: RunConfig, train: Split) -> float | None:
    """Returns the PFLOP that a run of the category may take; None where it may take any."""
    if category.full_epochs is None:
        return None
    return pflop(config.replace(sizes="off", epochs=category.full_epochs), train)


def line(who: str, one: Trial) -> str:
    """Returns what is said of a trial."""
    return (f"{who}, seed {one.seed}: top-1 {one.top1:.2f} %, {one.seconds:.1f} s and {one.compile_seconds:.1f} s of "
            f"compiling, {one.pflop:.3g} PFLOP")
