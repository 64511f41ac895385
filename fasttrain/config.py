"""What a run is: frozen dataclasses, filled in the order recipe <- config files <- flags <- `--set`.

No torch in here: a wrong flag must answer at once.
"""

import dataclasses
import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fasttrain import references
from fasttrain import sizes as size_plan
from fasttrain.checks import (
    Checked,
    boolean,
    choice,
    either,
    integer,
    interval,
    number,
    optional,
    path,
    patterns,
    section,
    setting,
    text,
)
from fasttrain.errors import ConfigError
from fasttrain.recipe import NOT_YAML, load_recipe, overlay, read_yaml, recipe_name
from fasttrain.registry import LOADERS, OPTIMIZERS, SCHEDULES, unknown
from fasttrain.sections import Augment, Mix

COMPILE_MODES = ("auto", "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


# the keys that `fasttrain run` has a flag for; the others are reached by --set
FLAGS = ("arch", "head", "stem", "weights", "freeze", "recipe", "data", "loader", "classes", "limit_train",
         "limit_val", "val_fraction", "image_size", "epochs", "batch_size", "lr", "seed", "device", "threads",
         "precision", "compile", "out", "resume")
# the keys whose values `--set` takes as they are: YAML reads 64:1.0 as 3841, in base 60, and *.bias as an alias
VERBATIM = ("sizes", "freeze")
# the check of each section
SECTIONS = {
    "augment": section(Augment),
    "optimizer": section(OPTIMIZERS),
    "schedule": section(SCHEDULES),
    "mix": section(Mix),
}


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that decides a training run.

    Fields left at None are taken from the recipe, so `RunConfig(arch="resnet50", head="maxpool")` is complete. A
    mapping for a section, such as `augment`, changes the keys that it names; one that names another optimizer or
    schedule than the recipe starts from that one's own defaults, and another optimizer needs a learning rate of its
    own. Raises ConfigError on the first value that cannot work.
    """

    arch: str = setting(references.arch, "resnet18", "backbone; or package.module:factory, FILE.py:factory, timm:NAME")
    head: str = setting(choice(references.heads), "origin", "classifier head")
    stem: str = setting(choice(("standard", "small")), "standard", "7x7/2 and max pool, or 3x3/1, 12x the work")
    weights: str | None = setting(optional(path), None, "start from these: a state dict (.pth, .safetensors) or a run")
    freeze: str | None = setting(optional(patterns), None, "parameters that stay as they are: conv1.*,layer1.*")
    recipe: str = setting(recipe_name, "fast", "optimisation recipe; `original` is the original study's")
    data: str | None = setting(optional(text), None, "folder, zip, folder of .tar.xz parts, ImageFolder, or synthetic")
    loader: str = setting(choice(lambda: ["auto", *LOADERS.names()]), "auto", "how batches are made")
    classes: int | None = setting(optional(integer(1)), None, "only the first K sorted classes")
    limit_train: int | None = setting(optional(integer(1)), None, "only N training images, balanced over classes")
    limit_val: int | None = setting(optional(integer(1)), None, "only N validation images, balanced over classes")
    val_fraction: float | None = setting(optional(number(0, 0.99, above=True)), None,
                                         "share of each class's images that validate, where the data has no val/")
    image_size: int = setting(integer(32, 512), 64, "side of the square images, in pixels")
    photo_side: int = setting(integer(0, 4096), 0, "random resized crops are cut from training photos stored with a "
                              "shorter side of at most this, in pixels; 0: from the square images")
    epochs: int | None = setting(optional(integer(1, 100_000)), None, "passes over the training images")
    sizes: str | None = setting(optional(size_plan.check), None,
                                "smaller training images at first: 32x5,48x2,64x1 (pixels x epochs), or shares of "
                                "the run, 32:0.6,48:0.25,64:0.15; off")
    batch_size: int | str | None = setting(optional(either("auto", integer(1))), None,
                                           "images per step over all processes; auto: by the size of the data")
    lr: float | str | None = setting(optional(either("auto", number(0, above=True))), None,
                                     "peak learning rate; auto: lr_per_256 * batch size / 256")
    lr_per_256: float | None = setting(optional(number(0, above=True)), None, "peak learning rate for a batch of 256")
    label_smoothing: float | None = setting(optional(number(0, 0.999)), None, "share of the target spread evenly")
    drop_last: bool | None = setting(optional(boolean), None, "leave out the last, short training batch")
    augment: Augment | dict | None = setting(optional(SECTIONS["augment"]), None)
    optimizer: Checked | dict | None = setting(optional(SECTIONS["optimizer"]), None)
    schedule: Checked | dict | None = setting(optional(SECTIONS["schedule"]), None)
    mix: Mix | dict | None = setting(optional(SECTIONS["mix"]), None)
    clip: float = setting(number(0), 0.0, "a step whose gradients have a larger norm, all together, is scaled down to "
                          "this one; 0 is off")
    patience: int = setting(integer(0, 100_000), 0, "this many epochs without a higher val_top1 end a run; 0 is off")
    recalibrate: int | None = setting(optional(integer(0, 10_000)), None, "training batches at full size that give "
                                      "BatchNorm's statistics for validation after an epoch on smaller ones; 0 is off")
    ema: float | None = setting(optional(number(0, 0.999999)), None,
                                "validation measures weights averaged over the steps with this decay; 0 is off")
    tta: bool = setting(boolean, False, "validation also counts hits of each image averaged with its mirror image")
    shards: int = setting(integer(1, 65536), 1, "slices of each batch; above 1: equal weights for 1, 2, 4 processes")
    sync_bn: bool = setting(boolean, False, "BatchNorm over the samples of all processes, not of each slice")
    seed: int = setting(integer(0, 2**32 - 1), 0, "decides initial weights, order and augmentation")
    device: str = setting(choice(DEVICES), "auto", "the processor")
    threads: int | str | None = setting(optional(either("auto", integer(1, 1024))), None,
                                        "on the host; default one for each core; auto tries some and takes the fastest")
    precision: str | None = setting(optional(choice(PRECISIONS)), None, "arithmetic; auto: the fastest that is native")
    compile: str | None = setting(optional(choice(COMPILE_MODES)), None, "torch.compile mode; auto: where it pays")
    channels_last: bool | None = setting(optional(boolean), None, "NHWC activations")
    save_every: int | str = setting(either("auto", interval), "auto", "epochs between two saves of the last state, or "
                                    "minutes, such as 5m; auto: as often as costs 1 % of the time")
    out: str | None = setting(optional(text), None, "the run folder; default runs/<arch>_<head>/<n>")
    resume: str = setting(text, "never", "never, a run folder, or auto: the newest unfinished one of these settings")

    def __new__(cls, *_, **values):
        for name in values:
            if name not in cls.key_names():
                raise ConfigError(unknown("key", name, known_keys()))
        return super().__new__(cls)

    def __post_init__(self):
        recipe = load_recipe(recipe_name("recipe", self.recipe))
        epochs_given, rate_given = self.epochs, self.lr_per_256 or self.lr not in (None, "auto")
        object.__setattr__(self, "schedule", without_old_keys(self.schedule))
        for name, value in recipe.items():
            object.__setattr__(self, name, overlay(value, getattr(self, name)))
        super().__post_init__()
        references.refuse_stem(self.arch, self.stem)
        self._fit_sizes(epochs_given is not None)
        self._refuse_photos()
        if self.optimizer.name != recipe["optimizer"]["name"] and not rate_given:
            raise ConfigError(f"lr: recipe {self.recipe} has no learning rate for {self.optimizer.name}, only for "
                              f"{recipe['optimizer']['name']}: set one with --lr")

    def _refuse_photos(self) -> None:
        """Raises ConfigError where photos would be stored and not used, or stored too small."""
        if self.photo_side and not self.augment.rrc_scale:
            raise ConfigError(f"photo_side: {self.photo_side}: only random resized crops are cut from photos: add "
                              "--set augment.rrc_scale=0.25 --set augment.crop_padding=0")
        if 0 < self.photo_side < self.image_size:
            raise ConfigError(f"photo_side: {self.photo_side} is below --image-size {self.image_size}: raise it")

    def _fit_sizes(self, epochs_given: bool) -> None:
        """Takes `epochs` from `sizes` where that counts them; ConfigError where the two disagree with each other."""
        planned = size_plan.total_epochs(self.sizes)
        if planned is not None:
            if epochs_given and self.epochs != planned:
                raise ConfigError(f"epochs: {self.epochs} is not the {planned} of sizes={self.sizes}: leave out "
                                  "--epochs, or give shares such as 32:0.6,48:0.25,64:0.15")
            object.__setattr__(self, "epochs", integer(1, 100_000)("sizes: epochs", planned))
        largest = max(self.train_sizes)
        if largest > self.image_size:
            raise ConfigError(f"sizes: {largest} px is larger than the images ({self.image_size} px): images are only "
                              f"shrunk; raise --image-size or stay at {self.image_size} px or below")

    @property
    def train_sizes(self) -> tuple[int, ...]:
        """The side of the training images in each epoch, in pixels; validation is always at `image_size`."""
        return size_plan.epoch_sizes(self.sizes, self.epochs, self.image_size)

    @property
    def variant(self) -> str:
        """`resnet18_maxpool`; a stem other than the standard one is always named."""
        stem = "" if self.stem == "standard" else f"_{self.stem}-stem"
        return f"{references.short_name(self.arch)}_{self.head}{stem}"

    def to_dict(self) -> dict[str, Any]:
        """Returns a plain nested dict that YAML and JSON can hold and `RunConfig(**d)` takes back."""
        return dataclasses.asdict(self)

    def flat(self) -> dict[str, Any]:
        """Returns every value by its key, as `known_keys` names them."""
        found = {}
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                found |= {f"{name}.{key}": inner for key, inner in value.items()}
            else:
                found[name] = value
        return found

    def replace(self, **changes: Any) -> "RunConfig":
        """Returns a copy with other values, checked again."""
        return dataclasses.replace(self, **changes)

    def command(self) -> str:
        """Returns the `fasttrain run` command that repeats this run: the flags in which it differs from its recipe."""
        plain = RunConfig(recipe=self.recipe).to_dict()
        if self.optimizer.name != plain["optimizer"]["name"]:  # the recipe's rates do not count then
            plain["lr"] = plain["lr_per_256"] = None
        flags = {"arch": self.arch, "head": self.head, "recipe": self.recipe}
        sets = {}
        for name, value in self.to_dict().items():
            if name in SECTIONS:
                same = plain[name] if value.get("name") == plain[name].get("name") else {}
                sets |= {f"{name}.{key}": v for key, v in value.items() if key not in same or v != same[key]}
            elif name not in ("out", "resume") and value != plain[name]:
                (flags if name in FLAGS else sets)[name] = value
        words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        words += [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
        return shlex.join(["fasttrain", "run", *words])

    @classmethod
    def load(cls, files: Iterable[str | Path] = (), flags: dict[str, Any] | None = None,
             sets: Iterable[str] = (), saved: dict[str, Any] | None = None) -> "RunConfig":
        """Builds a config from a nested dict, YAML files, a dict and "a.b=c" strings.

        Later wins in recipe <- `saved` <- `files` <- `flags` <- `sets`.
        """
        values = dict(saved or {})
        for file in files:
            merge(values, read_yaml(file), str(file))
        merge(values, flags or {}, "flags")
        for item in sets:
            merge(values, parse_set(item), f"--set {item}")
        return cls(**values)


def without_old_keys(schedule: Any) -> Any:
    """Returns a schedule as version 0.1 wrote it, with the keys of all schedules, without those of the others."""
    if not isinstance(schedule, dict) or schedule.keys() != {"name", "period", "gamma", "warmup"}:
        return schedule
    known = SCHEDULES.load(choice(SCHEDULES.names)("schedule.name", schedule["name"])).key_names()
    return {key: value for key, value in schedule.items() if key in known}


def choices(name: str) -> list[str]:
    """Returns the values that a key of RunConfig takes, where they can be listed; otherwise none."""
    field = RunConfig.__dataclass_fields__.get(name)
    known = getattr(field.metadata["check"], "known", ()) if field else ()
    return list(known() if callable(known) else known)


def known_keys() -> list[str]:
    """Returns every key that a config file or `--set` may name, sections dotted."""
    return ([name for name in RunConfig.key_names() if name not in SECTIONS]
            + [f"{name}.{key}" for name, check in SECTIONS.items() for key in check.key_names()])


def merge(values: dict[str, Any], extra: dict[str, Any], where: str) -> None:
    """Lays the nested dict `extra` over `values`; an unknown key raises ConfigError with a suggestion."""
    for name, value in extra.items():
        if name not in RunConfig.key_names():
            raise ConfigError(f"{where}: {unknown('key', name, known_keys())}")
        if name in SECTIONS and isinstance(value, dict) and isinstance(values.get(name), dict):
            values[name] = {**values[name], **value}
        else:
            values[name] = value


def parse_set(item: str, flag: str = "--set") -> dict[str, Any]:
    """Returns "augment.flip=random" as {"augment": {"flip": "random"}}; the value is read as YAML."""
    path, equals, raw = item.partition("=")
    if not equals or not path:
        raise ConfigError(f"{flag} {item}: needs the form key=value, such as augment.flip=random")
    try:
        value = raw if path in VERBATIM else yaml.safe_load(raw)
    except NOT_YAML:
        raise ConfigError(f"{flag} {item}: the value is not YAML") from None
    if path not in known_keys():
        raise ConfigError(f"{flag} {item}: {unknown('key', path, known_keys())}")
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def auto_batch_size(train_images: int) -> int:
    """Returns the batch size for `auto`: the power of two next below 1 % of the images, from 32 to 512.

    5,000 images get 32, 25,000 get 128, 100,000 get 512: about 150 to 200 steps an epoch, enough updates for a short
    run on a small set, and a batch that fills a GPU on the full one.
    """
    return min(512, max(32, 2 ** int(math.log2(max(1, train_images // 100)))))


def fit_to_data(config: RunConfig, train_images: int) -> RunConfig:
    """Replaces `auto` in batch size and learning rate by numbers; ConfigError for a batch larger than the data."""
    batch_size = config.batch_size
    if batch_size == "auto":
        batch_size = min(auto_batch_size(train_images), train_images)
    if batch_size > train_images:
        raise ConfigError(f"batch size {batch_size} is larger than the data ({train_images} training images): "
                          f"use --batch-size {train_images} or less")
    lr = config.lr_per_256 * batch_size / 256 if config.lr == "auto" else config.lr
    return config.replace(batch_size=batch_size, lr=lr)
