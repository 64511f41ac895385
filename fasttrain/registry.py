"""Names for everything that can be swapped. An entry is "module:attribute", imported when it is first asked for."""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from fasttrain.errors import ConfigError


class Registry:
    """Maps a name to an object that lives in a module of its own.

    Adding a part is one file and one line below; listing the names imports nothing.
    """

    def __init__(self, kind: str, entries: dict[str, str]):
        self.kind = kind
        self.entries = entries

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def names(self) -> list[str]:
        return list(self.entries)

    def place(self, name: str) -> int:
        """Returns the place of `name` in the order of registration; what is not registered comes last."""
        return self.names().index(name) if name in self else len(self.entries)

    def load(self, name: str) -> Any:
        """Imports and returns the object called `name`; ConfigError with the nearest known name if there is none."""
        if name not in self.entries:
            raise ConfigError(unknown(self.kind, name, self.entries))
        module, attribute = self.entries[name].split(":")
        return getattr(importlib.import_module(module), attribute)


def unknown(kind: str, name: Any, known: Iterable[Any]) -> str:
    """Returns one line that says `name` is no `kind`, with the nearest of `known`, or all of them if none is near."""
    known = [str(k) for k in known]
    near = nearest(str(name), known)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "known: " + ", ".join(known)
    return f"unknown {kind} {name!r}: {hint}"


def nearest(word: str, known: list[str]) -> list[str]:
    """Returns the names of `known` that somebody who wrote `word` may have meant, at most three; [] if none is near."""
    alike = (lambda name: name.rpartition(".")[2] == word,  # the key without its section
             lambda name: len(word.strip("-")) > 2 and name.startswith(word),
             lambda name: sorted(name) == sorted(word))  # letters swapped
    for meant in alike:
        if found := list(filter(meant, known)):
            return found[:3]
    return difflib.get_close_matches(word, known, 1, 0.8)


ARCHS = Registry("arch", {
    "resnet18": "fasttrain.models.resnet:resnet18",
    "resnet50": "fasttrain.models.resnet:resnet50",
})

HEADS = Registry("head", {
    "origin": "fasttrain.models.heads:OriginHead",
    "maxpool": "fasttrain.models.heads:MaxPoolHead",
    "dropout": "fasttrain.models.heads:DropoutHead",
})

LOADERS = Registry("loader", {
    "resident": "fasttrain.data.loaders.resident:ResidentLoader",
    "jpeg": "fasttrain.data.loaders.jpeg:JpegLoader",
    "dali": "fasttrain.data.loaders.dali:DaliLoader",
    "ffcv": "fasttrain.data.loaders.ffcv:FfcvLoader",
    "torch": "fasttrain.data.loaders.torch_dataloader:TorchLoader",
    "constant": "fasttrain.data.loaders.constant:ConstantLoader",
})

SOURCES = Registry("source", {  # in the order in which they are asked whether a location is theirs
    "synthetic": "fasttrain.data.sources.synthetic:SyntheticSource",
    "directory": "fasttrain.data.sources.directory:DirectorySource",
    "zip": "fasttrain.data.sources.zip_archive:ZipSource",
    "tar": "fasttrain.data.sources.tar_parts:TarSource",
    "flat": "fasttrain.data.sources.directory:FlatSource",
})

AUGMENTATIONS = Registry("augmentation", {  # in the order in which they are applied
    "crop": "fasttrain.data.augment.crop:Crop",
    "resized_crop": "fasttrain.data.augment.resized_crop:ResizedCrop",
    "flip": "fasttrain.data.augment.flip:Flip",
    "colour": "fasttrain.data.augment.colour:Colour",
    "cutout": "fasttrain.data.augment.cutout:Cutout",
})

OPTIMIZERS = Registry("optimizer", {
    "sgd": "fasttrain.train.optimizers.sgd:Sgd",
    "adamw": "fasttrain.train.optimizers.adamw:AdamW",
    "muon": "fasttrain.train.optimizers.muon:Muon",
})

SCHEDULES = Registry("schedule", {
    "step": "fasttrain.train.schedules.step:StepDecay",
    "peak": "fasttrain.train.schedules.peak:Peak",
    "cosine": "fasttrain.train.schedules.cosine:Cosine",
})

TRACKERS = Registry("tracker", {
    "mlflow": "fasttrain.runs.trackers.mlflow:MlflowTracker",
    "wandb": "fasttrain.runs.trackers.wandb:WandbTracker",
    "trackio": "fasttrain.runs.trackers.trackio:TrackioTracker",
})


def variants() -> dict[str, tuple[str, str]]:
    """Returns the short names that stand for (arch, head), such as resnet18_maxpool."""
    return {f"{arch}_{head}": (arch, head) for arch in ARCHS.names() for head in HEADS.names()}


def split_variant(flags: dict[str, str]) -> dict[str, str]:
    """Returns the arch and head that `-a resnet18_maxpool` names at once; {} for a bare arch, or for none.

    Raises ConfigError for a name that is neither, and where `--head` says otherwise.
    """
    name = flags.get("arch", "")
    if name in ARCHS or "_" not in name or ":" in name:
        return {}
    if name not in variants():
        raise ConfigError(unknown("arch", name, [*ARCHS.names(), *variants()]))
    arch, head = variants()[name]
    if flags.get("head", head) != head:
        raise ConfigError(f"--arch {name} names the head {head!r}, --head {flags['head']!r}: give one of them")
    return {"arch": arch, "head": head}
