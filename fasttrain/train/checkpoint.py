"""Checkpoints that survive a crash at any instant, the loss of any one file, and never load silently damaged.

A file is written beside its place, flushed to the disk and renamed over it. It ends in its own sha256. `last.pt` takes
turns with `previous.pt`, so that the save before the last one stays. `manifest.json` is an index for those who do not
want to load the files; only those of version 0.1 need it, for their sha256.
"""

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fasttrain import seal
from fasttrain.config import RunConfig
from fasttrain.errors import DataError
from fasttrain.storage import OUT, make_folder, write_atomically

FORMAT = 2  # files of format 1 do not prove themselves
NAMES = ("last", "previous", "best")
State = dict[str, Any]


def disk_bytes(config: RunConfig, model: nn.Module) -> int:
    """Returns what the checkpoints of a run take at most: last, previous, best and the next, each with all averages.

    Two of them may be of the middle of an epoch, and hold its start as well.
    """
    copies = 1 + config.optimizer.averages + bool(config.ema)
    return (len(NAMES) + 3) * copies * sum(parameter.nbytes for parameter in model.parameters())


class Checkpoints:
    """`last.pt`, `previous.pt`, `best.pt` and `manifest.json` in one folder."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.manifest_path = self.folder / "manifest.json"

    def path(self, name: str) -> Path:
        """Returns where the checkpoint `name` lies, if it is there."""
        return self.folder / f"{name}.pt"

    def present(self) -> list[str]:
        """Returns which of NAMES have a file, whole or not."""
        return [name for name in NAMES if self.path(name).exists()]

    def manifest(self) -> dict[str, dict]:
        """Returns {"last.pt": {"bytes": ..., "epoch": ..., "step_in_epoch": ...}, ...} of what was saved.

        Those of version 0.1 have "sha256", a list, and may lack others. Taken from the checkpoints themselves where
        manifest.json is missing or damaged.
        """
        try:
            return self.read_manifest()
        except DataError:
            return self.rebuild_manifest()

    def read_manifest(self) -> dict[str, dict]:
        """Returns what manifest.json holds; DataError where it is damaged, or missing though there are checkpoints."""
        try:
            listed = seal.open_json(self.manifest_path.read_text(encoding="utf-8"))
            if all(isinstance(facts, dict) for facts in listed.values()):
                return listed
            raise ValueError("no list of files")
        except FileNotFoundError:
            if not self.present():
                return {}
            raise DataError(f"{self.manifest_path}: missing") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{self.manifest_path}: damaged ({error})") from None

    def rebuild_manifest(self) -> dict[str, dict]:
        """Returns the manifest of those files that prove themselves."""
        listed = {}
        for path in map(self.path, self.present()):
            data = path.read_bytes()
            if seal.proves_itself(data):
                listed[path.name] = entry(read_state(path, data), data)
        return listed

    def epochs(self) -> int | None:
        """Returns how many epochs are complete in the newest checkpoint, by the manifest; None where there is none."""
        return max((facts["epoch"] for facts in self.manifest().values() if "epoch" in facts), default=None)

    def save(self, names: str | tuple[str, ...], state: State) -> None:
        """Saves `state` (tensors and plain values) under one name, such as "last", or under several."""
        make_folder(self.folder, OUT)
        data, listed = serialize(state), self.manifest()
        for path in map(self.path, [names] if isinstance(names, str) else names):
            former = self.path("previous") if path.name == "last.pt" and path.exists() else None
            write_atomically(path, data, former=former)
            if former and path.name in listed:
                listed[former.name] = listed[path.name]
            listed[path.name] = entry(state, data)
        self.write_manifest(listed)

    def write_manifest(self, listed: dict[str, dict]) -> None:
        write_atomically(self.manifest_path, seal.seal_json(listed))

    def load(self, name: str) -> State:
        """Returns the state saved as `name`; DataError if it is missing or is not, to the bit, what was saved."""
        path = self.path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None
        if not seal.proves_itself(data) and hashlib.sha256(data).hexdigest() not in self.known_hashes():
            raise DataError(f"{path}: damaged (its sha256 is another)")
        return read_state(path, data)

    def known_hashes(self) -> set[str]:
        """Returns the sha256 of all files of version 0.1: a crash may leave one under another name than listed."""
        return {found for facts in self.manifest().values() for found in facts.get("sha256", ())}

    def load_all(self) -> tuple[dict[str, State], dict[str, DataError]]:
        """Returns the states that are whole by name, and the errors of those that were saved and are not."""
        states, errors, listed = {}, {}, self.manifest()
        for name in NAMES:
            if self.path(name).name in listed or self.path(name).exists():
                try:
                    states[name] = self.load(name)
                except DataError as error:
                    errors[name] = error
        return states, errors


def newest(states: dict[str, State], errors: dict[str, DataError]) -> str:
    """Returns the name of the state that is furthest, the first of equals; raises the first error where there is none.
    """
    if not states:
        raise next(iter(errors.values()), DataError("no checkpoint was saved"))
    return max(states, key=lambda name: (states[name]["epoch"], states[name].get("step_in_epoch", 0)))


def entry(state: State, data: memoryview | bytes) -> dict[str, Any]:
    """Returns what the manifest says of a checkpoint and of the bytes of its file."""
    return {"bytes": len(data), "epoch": state["epoch"], "step_in_epoch": state.get("step_in_epoch", 0)}


def serialize(state: State) -> memoryview:
    """Returns the bytes of a checkpoint's file: what torch saves, and the line that proves it."""
    buffer = io.BytesIO()
    torch.save({**state, "format": FORMAT}, buffer)
    proof = seal.line(buffer.getbuffer())
    buffer.seek(0, io.SEEK_END)
    buffer.write(proof.encode())
    return buffer.getbuffer()


def read_checkpoint(path: Path | str) -> tuple[State, Path]:
    """Returns the state in the file `path`, or in `best.pt` of the run folder `path`, and that file's Path.

    DataError for what is no whole checkpoint. A file of version 0.1 without its manifest is taken as it is.
    """
    path = Path(path)
    if path.is_dir():
        folder = path if (path / "best.pt").exists() else path / "checkpoints"
        if not (folder / "best.pt").exists():
            raise DataError(f"{path}: holds no checkpoints/best.pt: name a run folder or a checkpoint file")
        path = folder / "best.pt"
    checkpoints = Checkpoints(path.parent)
    if path.suffix == ".pt" and path.name in checkpoints.manifest():
        return checkpoints.load(path.stem), path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    state = read_state(path, data)
    if state["format"] > 1 and not seal.proves_itself(data):
        raise DataError(f"{path}: damaged (its sha256 is another)")
    return state, path


def read_state(path: Path | str, data: bytes) -> State:
    """Unpickles a checkpoint's bytes, tensors and plain values only; never runs code from it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on foreign files that are refused below
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # bytes that are no checkpoint fail in as many ways as there are bytes
        raise DataError(f"{path}: not a checkpoint of fasttrain") from None
    if not isinstance(state, dict) or state.get("format") not in range(1, FORMAT + 1) or "model" not in state:
        raise DataError(f"{path}: not a checkpoint of this version of fasttrain (format {FORMAT})")
    return state
