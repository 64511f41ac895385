"""The run folder: which one a run gets, who may write to it, and what it continues."""

import contextlib
from pathlib import Path

from fasttrain.data.sources.directory import FOLDER
from fasttrain.errors import ConfigError, DataError, FasttrainError
from fasttrain.runs.settings import PLACE, differing_key, recovered_config, saved_config, write_config
from fasttrain.storage import OUT, Busy, Lock, make_folder, need_space, remove_temporaries
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.rows import read_rows, stopped_early


class Taken(ConfigError):
    """Another process is training in the folder."""


class RunFolder:
    """A claimed folder: `path`, its `checkpoints`, and `resumed`, whether it holds a run to continue.

    config: what a resumed run's config.yaml has to hold, where that is not what it holds. damage: a line that says so
    where the file is damaged.
    """

    def __init__(self, path, resumed, config=None, damage=None):
        self.path, self.resumed, self.config, self.damage = Path(path), resumed, config, damage
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.lock = Lock(self.path / ".lock")

    def claim(self, config, size=0):
        """Makes the folder this process's own, writes config.yaml if need be; ConfigError while another one holds it.

        Raises DataError, before anything is written, unless the disk has room for the `size` bytes of a new run.
        """
        try:
            if not self.resumed:
                disk = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.is_dir())
                need_space(disk, size, OUT)
            make_folder(self.path, OUT)
            self.lock.take()
            for place in (self.path, self.checkpoints.folder):
                remove_temporaries(place)
        except Busy as holder:
            raise Taken(f"{self.path}: another process is training here ({holder}); {OUT}") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot write: {error.strerror or error}; {OUT}") from None
        if self.config or not self.resumed:
            write_config(self.path, self.config or config)

    @property
    def threads(self):
        """The number of threads that a run to be resumed had so far; None where it has not noted any."""
        return saved_config(self.path).threads if self.resumed else None

    def keep_threads(self, threads):
        """Notes the number of threads in config.yaml."""
        saved = saved_config(self.path)
        if saved.threads != threads:
            write_config(self.path, saved.replace(threads=threads))

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


def claimed(config, room):
    """The RunFolder for a run of `config` (see `choose`), claimed.

    room: called for a new run before anything is written; returns the bytes that its checkpoints take, or raises what
    speaks against it. Of two processes that choose the same next number, one gets it and the other the number after it.
    """
    while True:
        folder = choose(config)
        try:
            folder.claim(config, 0 if folder.resumed else room())
            return folder
        except Taken:
            if config.out is not None or folder.resumed:
                raise


def refuse_taken(config):
    """ConfigError if `--out` already holds a run that is not to be resumed: asked before the data is opened."""
    if config.out is not None and config.resume == "never" and holds_run(Path(config.out)):
        raise ConfigError(f"{config.out}: already holds a run; add --resume auto to continue it, "
                          "or choose another --out")
    if config.out is not None and in_data(Path(config.out).resolve(), Path(config.data or config.out).resolve()):
        raise ConfigError(f"--out {config.out}: is a folder of images; {OUT}")


def in_data(path, data):
    """Whether `path` is the folder of a data set, or lies among the images of `data`, where it would be one more class.
    """
    images = [root / split for root in (path, data, data / FOLDER) for split in ("train", "val")]
    return any(folder.is_dir() and (folder.parent == path or path.is_relative_to(folder)) for folder in images)


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


def continued(path, config):
    """The run in `path`, if `config` is the one that it was started with, or asks for more epochs of it."""
    saved, damage = recovered_config(path)
    longer = config.epochs > saved.epochs
    difference = differing_key(saved, config, (*PLACE, "epochs") if longer else PLACE)
    if difference:
        name, before, wanted = difference
        raise ConfigError(f"{path}: was started with {name} {before}, not {wanted}; resume with the same settings")
    if config.out is not None and Path(config.out).resolve() != path.resolve():
        raise ConfigError(f"--out {config.out}: a resumed run stays in its folder, {path}; leave --out away")
    rewritten = saved.replace(epochs=config.epochs) if longer or damage else None
    return RunFolder(path, bool(Checkpoints(path / "checkpoints").present()), rewritten, damage)


def newest_unfinished(parent, config):
    """The highest-numbered run below `parent` with this configuration that has a checkpoint and epochs to go."""
    for path in sorted(numbered(parent), key=lambda p: int(p.name), reverse=True):
        try:
            epochs = Checkpoints(path / "checkpoints").epochs()
            if epochs is None or epochs >= config.epochs or stopped_early(read_rows(path / "metrics.jsonl")):
                continue
            if not differing_key(recovered_config(path)[0], config):
                return path
        except FasttrainError:
            continue
    return None


def numbered(parent):
    return [p for p in parent.glob("*") if p.is_dir() and p.name.isdigit()]


def next_number(parent):
    return parent / str(max((int(p.name) for p in numbered(parent)), default=0) + 1)
