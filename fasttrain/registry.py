"""Names for everything that can be swapped. An entry is "module:attribute", imported when it is first asked for."""

import difflib
import importlib

from fasttrain.errors import ConfigError


class Registry:
    """Maps a name to an object that lives in a module of its own.

    Adding a part is one file and one line below; listing the names imports nothing.
    """

    def __init__(self, kind, entries):
        self.kind = kind
        self.entries = entries

    def __contains__(self, name):
        return name in self.entries

    def names(self):
        return list(self.entries)

    def check(self, name):
        """Returns `name`; raises ConfigError with the nearest known name if there is no such entry."""
        if name in self.entries:
            return name
        raise ConfigError(unknown(self.kind, name, self.entries))

    def load(self, name):
        """Imports and returns the object called `name`."""
        module, attribute = self.entries[self.check(name)].split(":")
        return getattr(importlib.import_module(module), attribute)


def unknown(kind, name, known):
    """One line that says `name` is no `kind`, with the nearest of `known` or all of them."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(str(k) for k in known)
    return f"unknown {kind} {name!r}: {hint}"


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
})

AUGMENTATIONS = Registry("augmentation", {  # in the order in which they are applied
    "crop": "fasttrain.data.augment.crop:Crop",
    "resized_crop": "fasttrain.data.augment.resized_crop:ResizedCrop",
    "flip": "fasttrain.data.augment.flip:Flip",
    "colour": "fasttrain.data.augment.colour:Colour",
    "cutout": "fasttrain.data.augment.cutout:Cutout",
})

OPTIMIZERS = Registry("optimizer", {
    "sgd": "fasttrain.train.optim:sgd",
})

SCHEDULES = Registry("schedule", {
    "step": "fasttrain.train.schedule:step_decay",
    "peak": "fasttrain.train.schedule:peak_to_zero",
})


def variants():
    """The short names that stand for arch and head at once, such as resnet18_maxpool."""
    return [f"{arch}_{head}" for arch in ARCHS.names() for head in HEADS.names()]


def split_variant(flags):
    """`-a resnet18_maxpool` names arch and head at once; a bare arch leaves the head alone."""
    arch, underscore, head = flags.get("arch", "").partition("_")
    if not underscore:
        return {}
    if flags.get("head", head) != head:
        raise ConfigError(f"--arch {flags['arch']} names the head {head!r}, --head {flags['head']!r}: give one of them")
    return {"arch": arch, "head": head}
