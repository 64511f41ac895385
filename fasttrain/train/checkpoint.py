"""Checkpoints that survive a crash at any instant and never load silently damaged.

A file is written beside its place, flushed to the disk and renamed over it. `manifest.json` holds each file's sha256:
before a rename it names the new hash and the old one, so that whichever file a crash leaves behind is known.
"""

import hashlib
import io
import json
import warnings
from pathlib import Path

import torch

from fasttrain.errors import DataError
from fasttrain.models import build_model
from fasttrain.storage import write_atomically

FORMAT = 1


def disk_bytes(config, num_classes):
    """Returns what the checkpoints of a run take at most: last, best and the next one, each with all averages."""
    with torch.device("meta"):
        model = build_model(config.arch, config.head, num_classes, config.image_size, config.stem)
    copies = 1 + config.optimizer.averages + bool(config.ema)
    return 3 * copies * sum(parameter.nbytes for parameter in model.parameters())


class Checkpoints:
    """`last.pt`, `best.pt` and `manifest.json` in one folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest_path = self.folder / "manifest.json"

    def manifest(self):
        """{"last.pt": {"sha256": [new, old], "epoch": ..., ...}, ...}; empty where nothing was saved yet."""
        try:
            listed = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            if isinstance(listed, dict) and all(isinstance(facts, dict) for facts in listed.values()):
                return listed
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            pass
        raise DataError(f"{self.manifest_path}: damaged; delete the run folder or start another one")

    def any(self):
        """Whether there is a checkpoint: the manifest is written first, so it alone does not tell."""
        return any((self.folder / name).exists() for name in ("last.pt", "best.pt"))

    def save(self, name, state, **facts):
        """Saves `state` (tensors and plain values) as `name`.pt; `facts` go into the manifest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        data = buffer.getbuffer()
        manifest = self.manifest()
        file = f"{name}.pt"
        known = manifest.get(file, {}).get("sha256", [])[:1]
        manifest[file] = {"sha256": [hashlib.sha256(data).hexdigest(), *known], "bytes": len(data), **facts}
        write_atomically(self.manifest_path, json.dumps(manifest, indent=2))
        write_atomically(self.folder / file, data)

    def load(self, name):
        """The state saved as `name`; DataError if it is missing or is not, to the bit, what was saved."""
        path = self.folder / f"{name}.pt"
        known = self.manifest().get(path.name, {}).get("sha256", [])
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None
        if hashlib.sha256(data).hexdigest() not in known:
            raise DataError(f"{path}: damaged (its sha256 is not in manifest.json)")
        return read_state(path, data)

    def load_newest(self, warn):
        """The newest state that is whole: `last`, or else `best`, which is then said through `warn`."""
        try:
            return self.load("last")
        except DataError as error:
            if "best.pt" not in self.manifest():
                raise
            state = self.load("best")
            warn(f"{error}; continuing from best.pt, epoch {state['epoch']}")
            return state


def read_checkpoint(path):
    """The state in the file `path`, or in `best.pt` of the run folder `path`: (state, the file's Path).

    Where a manifest beside it lists the file, its sha256 is checked. DataError for what is no whole checkpoint.
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
        return read_state(path, path.read_bytes()), path
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def read_state(path, data):
    """Unpickles a checkpoint's bytes, tensors and plain values only; never runs code from it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on foreign files that are refused below
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # bytes that are no checkpoint fail in as many ways as there are bytes
        raise DataError(f"{path}: not a checkpoint of fasttrain") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT or "model" not in state:
        raise DataError(f"{path}: not a checkpoint of this version of fasttrain (format {FORMAT})")
    return state
