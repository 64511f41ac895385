"""The run folder: which one a run gets, who may write to it, and what it continues."""

import contextlib
from pathlib import Path

import yaml

from fasttrain.config import RunConfig, read_yaml
from fasttrain.errors import ConfigError, DataError, FasttrainError
from fasttrain.storage import OUT, Busy, Lock, need_space, write_atomically
from fasttrain.train.checkpoint import Checkpoints

# these say where and on how many cores a run lives, not what it computes
PLACE = ("out", "resume", "data", "threads")


def settings(config, without=PLACE):
    """The keys of a config, sections dotted, with their values; `without` those that do not matter."""
    return {f"{k}.{n}" if isinstance(v, dict) else k: w
            for k, v in config.to_dict().items() if k not in without
            for n, w in (v.items() if isinstance(v, dict) else [(k, v)])}


def differing_key(a, b):
    """The first key in which two configs would train differently, with both values; or None."""
    first, second = settings(a), settings(b)
    return next(((k, first[k], second[k]) for k in first if first[k] != second[k]), None)


class Taken(ConfigError):
    """Another process is training in the folder."""


class RunFolder:
    """A claimed folder: `path`, its `checkpoints`, and `resumed`, whether it holds a run to continue."""

    def __init__(self, path, resumed):
        self.path, self.resumed = Path(path), resumed
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.lock = Lock(self.path / ".lock")

    def claim(self, config, size=0):
        """Makes the folder this process's own and writes config.yaml; ConfigError while another process holds it.

        Raises DataError, before anything is written, unless the disk has room for the `size` bytes of a new run.
        """
        try:
            if not self.resumed:
                disk = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.is_dir())
                need_space(disk, size, OUT)
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.take()
        except Busy as holder:
            raise Taken(f"{self.path}: another process is training here ({holder}); {OUT}") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot write: {error.strerror or error}; {OUT}") from None
        if not self.resumed:
            self.write_config(config)

    @property
    def threads(self):
        """The number of threads that a run to be resumed had so far; None where it has not noted any."""
        return saved_config(self.path).threads if self.resumed else None

    def keep_threads(self, threads):
        """Notes the number of threads in config.yaml."""
        saved = saved_config(self.path)
        if saved.threads != threads:
            self.write_config(saved.replace(threads=threads))

    def write_config(self, config):
        write_atomically(self.path / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))

    def release(self):
        """Gives the folder up. Of a run that was refused before it began nothing stays."""
        if self.lock.handle is None:
            return
        began = self.resumed or (self.path / "env.json").exists() or self.checkpoints.folder.exists()
        if not began:
            for name in ("config.yaml", "log.txt", "metrics.jsonl", ".lock"):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it held something before
                self.path.rmdir()
        self.lock.release()


def claimed(config, size):
    """The RunFolder for a run of `config` (see `choose`), claimed for `size` bytes of checkpoints.

    Of two processes that choose the same next number, one gets it and the other the number after it.
    """
    while True:
        folder = choose(config)
        try:
            folder.claim(config, size)
            return folder
        except Taken:
            if config.out is not None or folder.resumed:
                raise


def refuse_taken(config):
    """ConfigError if `--out` already holds a run that is not to be resumed: asked before the data is opened."""
    if config.out is not None and config.resume == "never" and holds_run(Path(config.out)):
        raise ConfigError(f"{config.out}: already holds a run; add --resume auto to continue it, "
                          "or choose another --out")


def choose(config):
    """The folder for a run of `config` (batch size and rate already numbers), by `--out` and `--resume`."""
    refuse_taken(config)
    if config.resume not in ("never", "auto"):
        return continued(Path(config.resume), config)
    if config.out is None:
        parent = Path("runs") / config.variant
        unfinished = newest_unfinished(parent, config) if config.resume == "auto" else None
        return RunFolder(unfinished, True) if unfinished else RunFolder(next_number(parent), False)
    path = Path(config.out)
    return continued(path, config) if holds_run(path) else RunFolder(path, False)


def holds_run(path):
    return (path / "config.yaml").exists() or (path / "checkpoints").exists()


def saved_config(path):
    """The RunConfig of a run folder; DataError where it has none that can be read."""
    try:
        return RunConfig(**read_yaml(Path(path) / "config.yaml"))
    except (FasttrainError, TypeError) as error:
        raise DataError(f"{path}: no run to be read here: {error}") from None


def continued(path, config):
    """The run in `path`, if `config` is the one that it was started with."""
    difference = differing_key(saved_config(path), config)
    if difference:
        name, saved, wanted = difference
        raise ConfigError(f"{path}: was started with {name} {saved}, not {wanted}; resume with the same settings")
    if config.out is not None and Path(config.out).resolve() != path.resolve():
        raise ConfigError(f"--out {config.out}: a resumed run stays in its folder, {path}; leave --out away")
    return RunFolder(path, Checkpoints(path / "checkpoints").any())


def newest_unfinished(parent, config):
    """The highest-numbered run below `parent` with this configuration that has a checkpoint and epochs to go."""
    for path in sorted(numbered(parent), key=lambda p: int(p.name), reverse=True):
        try:
            last = Checkpoints(path / "checkpoints").manifest().get("last.pt", {})
            if 0 <= last.get("epoch", config.epochs) < config.epochs and not differing_key(saved_config(path), config):
                return path
        except FasttrainError:
            continue
    return None


def numbered(parent):
    return [p for p in parent.glob("*") if p.is_dir() and p.name.isdigit()]


def next_number(parent):
    return parent / str(max((int(p.name) for p in numbered(parent)), default=0) + 1)
