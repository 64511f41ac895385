"""What a run is: frozen dataclasses, filled in the order recipe <- config files <- flags <- `--set`.

No torch in here: a wrong flag must answer at once.
"""

import dataclasses
import math
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fasttrain import sizes as size_plan
from fasttrain.errors import ConfigError
from fasttrain.registry import ARCHS, HEADS, LOADERS, OPTIMIZERS, SCHEDULES, unknown

COMPILE_MODES = ("auto", "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
NO_LIMIT = 2**31 - 1  # what an integer's message keeps to itself
# what PyYAML raises for text that is no YAML, for dates and numbers that are none, for thousands of brackets
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)


def recipe_names():
    """The recipes that ship with the package, by name."""
    folder = resources.files("fasttrain") / "recipes"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def integer(low, high=NO_LIMIT):
    """A check: a whole number in [low, high]."""
    def check(name, value):
        try:
            exact = int(value) if not isinstance(value, bool) and float(value) == int(value) else None
        except (TypeError, ValueError, OverflowError):
            exact = None
        if exact is None or not low <= exact <= high:
            raise ConfigError(f"{name}: {value!r} is not a whole number of at least {low}"
                              + (f" and at most {high}" if high != NO_LIMIT else ""))
        return exact
    return check


def number(low, high=math.inf, above=False):
    """A check: a finite number in [low, high], or above `low` where `above` is set."""
    def check(name, value):
        try:
            exact = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            exact = math.nan
        if not math.isfinite(exact) or exact < low or exact > high or (above and exact == low):
            bounds = f"above {low:g}" if above else f"of at least {low:g}"
            raise ConfigError(f"{name}: {value!r} is not a number {bounds}"
                              + (f" and at most {high:g}" if high < math.inf else ""))
        return exact
    return check


def boolean(name, value):
    """A check: true or false."""
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        value = words[value.lower()]
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither true nor false")
    return value


def text(name, value):
    """A check: a string or path that is not empty and holds no NUL."""
    value = str(value) if isinstance(value, (str, Path)) else ""
    if not value or "\0" in value:
        raise ConfigError(f"{name}: needs a value that is not empty")
    return value


def choice(known):
    """A check: one of `known`, a sequence or a function that returns one."""
    def check(name, value):
        names = known() if callable(known) else known
        if value is False:  # YAML reads a bare `off` as false
            value = "off"
        if value not in names:
            raise ConfigError(unknown(name, value, names))
        return value
    check.known = known
    return check


def either(word, check):
    """A check: the given word, or what `check` takes."""
    def wrapped(name, value):
        return word if value == word else check(name, value)
    wrapped.known = (word,)
    return wrapped


def optional(check):
    """A check: nothing, or what `check` takes."""
    def wrapped(name, value):
        return None if value is None else check(name, value)
    wrapped.known = getattr(check, "known", ())
    return wrapped


def setting(check, default=dataclasses.MISSING, help=""):  # noqa: A002 - the word argparse uses
    """A dataclass field with its check and its help line."""
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


class Checked:
    """A frozen dataclass whose fields are checked and normalised when it is made."""

    prefix = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = field.metadata["check"](self.prefix + field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)


@dataclass(frozen=True)
class Augment(Checked):
    """Augmentation of the uint8 images of a training batch; registry.AUGMENTATIONS has the order."""

    prefix = "augment."
    crop_padding: int = setting(integer(0, 64), 0, "pixels of zeros around the image before a random crop of its size")
    flip: str = setting(choice(("none", "random", "alternating")), "none",
                        "left-right: at random, or at random in the first epoch and in turn afterwards")
    cutout: int = setting(integer(0, 512), 0, "side of a square of zeros at a random place, in pixels; 0 is off")
    rrc_scale: float = setting(number(0, 1), 0.0, "random resized crop: least share of the image's area; 0 is off")
    brightness: float = setting(number(0, 1), 0.0, "largest share by which an image gets brighter or darker; 0 is off")
    contrast: float = setting(number(0, 1), 0.0, "largest share by which contrast grows or shrinks; 0 is off")

    def __post_init__(self):
        super().__post_init__()
        if self.rrc_scale and self.crop_padding:
            raise ConfigError("augment.rrc_scale: one kind of crop excludes the other: set augment.crop_padding=0")


@dataclass(frozen=True)
class Optimizer(Checked):
    """The optimizer; its learning rate comes from the schedule."""

    prefix = "optimizer."
    name: str = setting(choice(OPTIMIZERS.names), "sgd")
    momentum: float = setting(number(0, 1), 0.9)
    nesterov: bool = setting(boolean, False)
    weight_decay: float = setting(number(0), 1e-4)
    decay_norm_and_bias: bool = setting(boolean, True, "whether BatchNorm parameters and biases decay too")

    def __post_init__(self):
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optimizer.nesterov: needs optimizer.momentum above 0")


@dataclass(frozen=True)
class Schedule(Checked):
    """The learning rate over the run, as a share of its peak."""

    prefix = "schedule."
    name: str = setting(choice(SCHEDULES.names), "step")
    period: int = setting(integer(1), 30, "step: epochs between two drops")
    gamma: float = setting(number(0, 1), 0.1, "step: factor of each drop")
    warmup: float = setting(number(0, 1), 0.2, "peak: share of the run in which the rate rises")


@dataclass(frozen=True)
class Mix(Checked):
    """Images of a training batch mixed with each other, and their labels in proportion."""

    prefix = "mix."
    mixup: float = setting(number(0, 100), 0.0, "whole images; alpha of Beta(alpha, alpha), the shares; 0 is off")
    cutmix: float = setting(number(0, 100), 0.0, "a box of one in the other; alpha as for mixup; 0 is off")

    def __bool__(self):
        return self.mixup > 0 or self.cutmix > 0


# the fields that `fasttrain run` has a flag for; the others are reached by --set
FLAGS = ("arch", "head", "stem", "recipe", "data", "loader", "classes", "limit_train", "limit_val", "image_size",
         "epochs", "batch_size", "lr", "seed", "device", "precision", "compile", "out", "resume")
SECTIONS = {"augment": Augment, "optimizer": Optimizer, "schedule": Schedule, "mix": Mix}


def section(cls):
    """A check: a section, or a mapping of its keys."""
    def check(name, value):
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: needs keys, such as {name}.{dataclasses.fields(cls)[0].name}")
        known = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in known:
                raise ConfigError(unknown("key", f"{name}.{key}", [f"{name}.{k}" for k in known]))
        return cls(**value)
    return check


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that decides a training run.

    Fields left at None are taken from the recipe, so `RunConfig(arch="resnet50", head="maxpool")` is complete; a
    mapping for a section, such as `augment` or `optimizer`, changes the keys it names. Raises ConfigError on the first
    value that cannot work.
    """

    arch: str = setting(choice(ARCHS.names), "resnet18", "backbone")
    head: str = setting(choice(HEADS.names), "origin", "classifier head")
    stem: str = setting(choice(("standard", "small")), "standard", "7x7/2 and max pool, or 3x3/1, 12x the work")
    recipe: str = setting(choice(recipe_names), "fast", "optimisation recipe; `seed` is the original's")
    data: str | None = setting(optional(text), None, "folder, zip, folder of .tar.xz parts, ImageFolder, or synthetic")
    loader: str = setting(choice(lambda: ["auto", *LOADERS.names()]), "auto", "how batches are made")
    classes: int | None = setting(optional(integer(1)), None, "only the first K sorted classes")
    limit_train: int | None = setting(optional(integer(1)), None, "only N training images, balanced over classes")
    limit_val: int | None = setting(optional(integer(1)), None, "only N validation images, balanced over classes")
    image_size: int = setting(integer(32, 512), 64, "side of the square images, in pixels")
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
    augment: Augment | dict | None = setting(optional(section(Augment)), None)
    optimizer: Optimizer | dict | None = setting(optional(section(Optimizer)), None)
    schedule: Schedule | dict | None = setting(optional(section(Schedule)), None)
    mix: Mix | dict | None = setting(optional(section(Mix)), None)
    ema: float | None = setting(optional(number(0, 0.999999)), None,
                                "validation measures weights averaged over the steps with this decay; 0 is off")
    tta: bool = setting(boolean, False, "validation also counts hits of each image averaged with its mirror image")
    seed: int = setting(integer(0, 2**32 - 1), 0, "decides initial weights, order and augmentation")
    device: str = setting(choice(DEVICES), "auto", "the processor")
    precision: str | None = setting(optional(choice(PRECISIONS)), None, "arithmetic; auto: the fastest that is native")
    compile: str | None = setting(optional(choice(COMPILE_MODES)), None, "torch.compile mode; auto: where it pays")
    channels_last: bool | None = setting(optional(boolean), None, "NHWC activations")
    out: str | None = setting(optional(text), None, "the run folder; default runs/<arch>_<head>/<n>")
    resume: str = setting(text, "never", "never, a run folder, or auto: the newest unfinished one of these settings")

    def __post_init__(self):
        choice(recipe_names)("recipe", self.recipe)
        epochs = self.epochs
        for name, value in load_recipe(self.recipe).items():
            given = getattr(self, name)
            if given is None:
                object.__setattr__(self, name, value)
            elif name in SECTIONS and isinstance(given, dict):
                object.__setattr__(self, name, {**value, **given})
        super().__post_init__()
        self._fit_sizes(epochs)

    def _fit_sizes(self, epochs):
        """Takes `epochs` from `sizes` where that counts them; ConfigError where the two disagree with each other."""
        planned = size_plan.total_epochs(self.sizes)
        if planned is not None:
            if epochs is not None and int(epochs) != planned:
                raise ConfigError(f"epochs: {epochs} is not the {planned} of sizes={self.sizes}: leave out --epochs, "
                                  "or give shares such as 32:0.6,48:0.25,64:0.15")
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
    def variant(self):
        """`resnet18_maxpool`; a stem other than the standard one is always named."""
        return f"{self.arch}_{self.head}" + ("" if self.stem == "standard" else f"_{self.stem}-stem")

    def to_dict(self):
        """A plain nested dict that YAML and JSON can hold and `RunConfig(**d)` takes back."""
        return dataclasses.asdict(self)

    def replace(self, **changes):
        """A copy with other values, checked again."""
        return dataclasses.replace(self, **changes)

    def command(self):
        """The `fasttrain run` command that repeats this run: the flags in which it differs from its recipe."""
        plain = RunConfig(recipe=self.recipe).to_dict()
        words = ["fasttrain", "run", "--arch", self.arch, "--head", self.head, "--recipe", self.recipe]
        for name, value in self.to_dict().items():
            if name in SECTIONS:
                words += [w for k, v in value.items() if v != plain[name][k] for w in ("--set", f"{name}.{k}={v}")]
            elif value != plain[name] and name not in ("arch", "head", "recipe", "out", "resume"):
                words += [f"--{name.replace('_', '-')}", str(value)] if name in FLAGS else ["--set", f"{name}={value}"]
        return shlex.join(words)

    @classmethod
    def load(cls, files=(), flags=None, sets=()):
        """Builds a config: later wins in recipe <- `files` (YAML) <- `flags` (a dict) <- `sets` ("a.b=c" strings)."""
        values: dict[str, Any] = {}
        for file in files:
            merge(values, read_yaml(file), str(file))
        merge(values, flags or {}, "flags")
        for item in sets:
            merge(values, parse_set(item), f"--set {item}")
        return cls(**values)


def choices(name):
    """The values that a key of RunConfig takes, where they can be listed; otherwise none."""
    field = RunConfig.__dataclass_fields__.get(name)
    known = getattr(field.metadata["check"], "known", ()) if field else ()
    return list(known() if callable(known) else known)


def known_keys():
    """Every key that a config file or `--set` may name, sections dotted."""
    names = [f.name for f in dataclasses.fields(RunConfig) if f.name not in SECTIONS]
    return names + [f"{s}.{f.name}" for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)]


def merge(values, extra, where):
    """Lays the nested dict `extra` over `values`; an unknown key raises ConfigError with a suggestion."""
    fields = {f.name for f in dataclasses.fields(RunConfig)}
    for name, value in extra.items():
        if name not in fields:
            raise ConfigError(f"{where}: {unknown('key', name, known_keys())}")
        if name in SECTIONS and isinstance(value, dict) and isinstance(values.get(name), dict):
            values[name] = {**values[name], **value}
        else:
            values[name] = value


def parse_set(item):
    """Turns "augment.flip=random" into {"augment": {"flip": "random"}}; the value is read as YAML."""
    path, equals, raw = item.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {item}: needs the form key=value, such as augment.flip=random")
    try:
        value = raw if path == "sizes" else yaml.safe_load(raw)  # YAML reads 64:1.0 as 3841, in base 60
    except NOT_YAML:
        raise ConfigError(f"--set {item}: the value is not YAML") from None
    if path not in known_keys():
        raise ConfigError(f"--set {item}: {unknown('key', path, known_keys())}")
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def read_yaml(path):
    """The mapping in a YAML file; ConfigError in one line if there is none."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{path}: not YAML" + (f", line {mark.line + 1}" if mark else "")) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no keys")
    return values


def load_recipe(name):
    """The keys of a recipe that ships with the package, as a dict."""
    return yaml.safe_load((resources.files("fasttrain") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))


def auto_batch_size(train_images):
    """The rule of `batch_size: auto`: the power of two next below 1 % of the images, from 32 to 512.

    5,000 images get 32, 25,000 get 128, 100,000 get 512: about 150 to 200 steps an epoch, enough updates for a short
    run on a small set, and a batch that fills a GPU on the full one.
    """
    return min(512, max(32, 2 ** int(math.log2(max(1, train_images // 100)))))


def fit_to_data(config, train_images):
    """Replaces `auto` in batch size and learning rate by numbers; ConfigError for a batch larger than the data."""
    batch_size = config.batch_size
    if batch_size == "auto":
        batch_size = min(auto_batch_size(train_images), train_images)
    if batch_size > train_images:
        raise ConfigError(f"batch size {batch_size} is larger than the data ({train_images} training images): "
                          f"use --batch-size {train_images} or less")
    lr = config.lr_per_256 * batch_size / 256 if config.lr == "auto" else config.lr
    return config.replace(batch_size=batch_size, lr=lr)
