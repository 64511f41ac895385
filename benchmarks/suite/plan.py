"""The stages and their measurements, those that tell most for a minute of GPU time first."""

import itertools
import json
import os
from collections.abc import Callable

from benchmarks.peers import NETWORKS
from benchmarks.suite.results import read_json
from benchmarks.suite.stage import Measurement, Settings, Stage
from fasttrain.perf.bench.step import CONTENDER
from fasttrain.storage import cache_dir

HEADS = ("origin", "maxpool", "dropout")
TINY_DATA = "synthetic:classes=4,train=16,val=4,size=32"
TINY = {"data": TINY_DATA, "image_size": 32, "batch_size": 8}
BATCH = 1024  # of every comparison; the sweep finds the fastest
GPU_TESTS = ("tests/train/test_step_gpu.py", "tests/data/test_data_gpu.py", "tests/train/test_trainer_gpu.py",
             "tests/contract/test_loaders.py", "tests/contract/test_lifecycle.py")


def config(settings: Settings, **values) -> dict:
    """Returns the values of a RunConfig on the suite's data and device, or of its miniature."""
    base = TINY if settings.tiny else {"data": settings.data, "batch_size": BATCH}
    fixed = {"batch_size": TINY["batch_size"]} if settings.tiny else {}
    return {"lr": 0.1, "device": settings.device, **base, **values, **fixed}


def flags(values: dict) -> list[str]:
    """Returns a RunConfig's values as flags of `fasttrain`."""
    return [word for name, value in values.items() if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))]


def own(settings: Settings, name: str, kind: str, seconds: float, environment: dict | None = None,
        **arguments) -> Measurement:
    """Returns a measurement that `measure.py` makes."""
    result = settings.raw(name)
    return Measurement(name, ["benchmarks.suite.measure", kind, str(result), json.dumps(arguments)], seconds, result,
                       environment=environment or {})


def command(settings: Settings, name: str, words: list[str], seconds: float, values: Callable = dict,
            least: float = 20) -> Measurement:
    """Returns a measurement that `fasttrain WORDS --json FILE` makes."""
    result = settings.raw(name)
    return Measurement(name, ["fasttrain", *words, "--json", str(result)], seconds, result, values, least=least)


def env(settings: Settings) -> list[Measurement]:
    data = {"data": TINY_DATA if settings.tiny else settings.data, "image_size": 32 if settings.tiny else 64}
    return [own(settings, "machine", "machine", 180, device=settings.device),
            own(settings, "pack", "pack", 900, **data)]


def correct(settings: Settings) -> list[Measurement]:
    """Runs each place that holds tests marked gpu by itself: one that hangs costs no other."""
    kept = {"TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "compile"))}
    return [own(settings, f"tests in {place}", "tests", 480, kept, place=place)
            for place in (GPU_TESTS[:1] if settings.tiny else GPU_TESTS)]


def step(settings: Settings) -> list[Measurement]:
    """Measures the fastest settings first, then heads, the sweep, and each optimisation switched by itself."""
    found = []

    def add(name, seconds=240, contender=CONTENDER, kernels=None, **values):
        arch, head = values.pop("arch", "resnet18"), values.pop("head", "origin")
        values = config(settings, arch=arch, head=head, **values)
        del values["data"]
        repeats = {"repeats": 2, "steps": 1} if settings.tiny else {}
        found.append(own(settings, f"{arch} {head}, {name}", "step", seconds, config=values, contender=contender,
                         **repeats, **(kernels or {})))

    if settings.tiny:
        add("batch 8")
        return found
    archs = ("resnet18", "resnet50")
    for arch in archs:
        add("batch 1024", arch=arch)
    for arch, head in itertools.product(archs, HEADS[1:]):
        add("batch 1024", arch=arch, head=head)
    for arch, size in (("resnet18", 512), ("resnet18", 2048), ("resnet50", 512)):
        add(f"batch {size}", arch=arch, batch_size=size)
    for mode, arch in itertools.product(("off", "default"), archs):
        add(f"batch 1024, compile {mode}", arch=arch, compile=mode)
    for (name, kernels), arch in itertools.product(KERNELS.items(), archs):
        add(f"batch 1024, {name}", 300, arch=arch, kernels=kernels)
    for arch in archs:
        add("batch 768", arch=arch, batch_size=768)
    for arch in archs:
        add("batch 1024, compile max-autotune", 540, arch=arch, compile="max-autotune")
    for (name, contender), arch in itertools.product(NETWORKS.items(), archs):
        add(f"batch 1024, {name}", arch=arch, contender=contender)
    for arch, size in itertools.product(archs, (256, 4096, 2048, 128)):
        if (arch, size) != ("resnet18", 2048):
            add(f"batch {size}", arch=arch, batch_size=size)
    for arch, (name, values) in itertools.product(archs, PLAINER.items()):
        add(f"batch 1024, {name}", arch=arch, **values)
    for arch, mode, head in itertools.product(archs, ("off", "default", "max-autotune"), HEADS[1:]):
        add(f"batch 1024, compile {mode}", 540, arch=arch, head=head, compile=mode)
    return found


# how kernels are made and chosen, each changed by itself: arguments of `measure.step`
KERNELS = {
    "one kernel at a time": {"inductor": {"combo_kernels": False}},
    "PDL": {"inductor": {"triton.enable_pdl": True}},
    "cuDNN tries all": {"searched": 0},
    "coordinate descent": {"inductor": {"coordinate_descent_tuning": True}},
    "1x1 as products": {"inductor": {"conv_1x1_as_mm": True}},
}
PLAINER = {"NCHW": {"channels_last": False}, "fp32": {"precision": "fp32"},
           "fp32, NCHW, compile off": {"precision": "fp32", "channels_last": False, "compile": "off"}}


def loader(settings: Settings) -> list[Measurement]:
    size, data = (8, TINY_DATA) if settings.tiny else (BATCH, settings.data)
    words = ["bench", "loader", "--batch-size", str(size), "--device", settings.device,
             *(["--data", data] if data else []),
             *(["--image-size", "32", "--loaders", "resident,constant", "--repeats", "2", "--seconds", "0.1"]
               if settings.tiny else [])]
    return [command(settings, f"loaders, {augment}", [*words, "--augment", augment], 420, rows_of)
            for augment in ("crop-flip", "rrc")[:1 if settings.tiny else 2]]


def rows_of(found):
    return {key: found[key] for key in ("rows", "speedups") if key in found}


def profile(settings: Settings) -> list[Measurement]:
    found = []
    for arch, head in (("resnet18", "origin"), ("resnet50", "origin"), ("resnet50", "maxpool")):
        name = f"profile {arch} {head}"
        folder = settings.out / "profiles" / f"{arch}_{head}"
        words = ["profile", *flags(config(settings, arch=arch, head=head)), "--out", str(folder),
                 "--steps", "2" if settings.tiny else "100"]
        found.append(Measurement(name, ["fasttrain", *words], 240, folder / "profile.json", with_details(folder)))
    return found[:1] if settings.tiny else found


def with_details(folder):
    """Returns a function that adds to profile.json what details.json knows."""
    def values(found):
        details = read_json(folder / "details.json", {})
        return {**found, "details": {key: details.get(key) for key in ("loader_wait_ms", "batch_size", "compile",
                                                                       "precision", "operators", "launch_share")}}
    return values


def e2e(settings: Settings) -> list[Measurement]:
    archs = ("resnet18",) if settings.tiny else ("resnet18", "resnet50")
    rounds = {"rounds": 2} if settings.tiny else {}
    found = []
    for arch in archs:
        values = config(settings, arch=arch)
        found += [own(settings, f"epochs {arch}", "epochs", 240, config=values, **rounds),
                  own(settings, f"first step {arch}, cached", "first-step", 240, config=values)]
    words = ["bench", "e2e", "--peers", "--rounds", "1" if settings.tiny else "2"]
    for arch in archs:
        values = config(settings, arch=arch)
        found.append(command(settings, f"peers {arch}", [*words, *flags(values)], 540, rows_of, least=90))
    if not settings.tiny:
        found += [own(settings, f"first step {arch}, nothing cached", "first-step", 400, cold=True,
                      config=config(settings, arch=arch)) for arch in archs]
    return found


def ablation(settings: Settings) -> list[Measurement]:
    """Trains one seed of all six, then more, in one folder that each call continues; then the original's recipe."""
    studies = (("fast", 1),) if settings.tiny else (("fast", 1), ("original", 1), ("fast", 3), ("original", 3))
    values = config(settings)
    chosen = [w for name in ("data", "image_size", "device", "compile") for w in flags({name: values.get(name)})]
    found = []
    for recipe, seeds in studies:
        folder = settings.out / "ablation" / recipe
        words = ["ablate", "--recipe", recipe, "--seeds", str(seeds), "--epochs", "1" if settings.tiny else "30",
                 *(["--archs", "resnet18"] if settings.tiny or recipe == "original" else []),
                 *(["--heads", "origin"] if settings.tiny else []), *chosen, "--out", str(folder)]
        found.append(Measurement(f"{recipe}, {seeds} seed{'s' * (seeds > 1)}", ["fasttrain", *words], 3600,
                                 folder / "ablation.json", variants_of, least=60, continues=True))
    return found


def variants_of(found):
    return {key: found[key] for key in ("runs", "variants", "answers") if key in found}


def tune(settings: Settings) -> list[Measurement]:
    """Trains the recipe with one ingredient changed at a time, each a whole run."""
    found = []
    for name, changes in list(RECIPES.items())[:1 if settings.tiny else None]:
        values = {**config(settings), "batch_size": "auto", "lr": "auto", **changes}
        values |= {"epochs": 1} if settings.tiny else {}
        folder = str(settings.out / "tune" / name.replace(" ", "-"))
        found.append(own(settings, name, "training", 400, config={**values, "out": folder, "resume": "auto"}))
    return found


RECIPES = {
    "fast": {}, "fast, seed 1": {"seed": 1}, "fast, seed 2": {"seed": 2},
    "lr x 0.5": {"lr_per_256": 0.2}, "lr x 2": {"lr_per_256": 0.8},
    "batch 256": {"batch_size": 256}, "batch 1024": {"batch_size": 1024},
    "rrc 0.35": {"augment": {"crop_padding": 0, "rrc_scale": 0.35}}, "cutout 16": {"augment": {"cutout": 16}},
    "decay 2e-4": {"optimizer": {"weight_decay": 2e-4}}, "decay 1e-3": {"optimizer": {"weight_decay": 1e-3}},
    "no smoothing": {"label_smoothing": 0.0}, "smoothing 0.2": {"label_smoothing": 0.2},
    "random flip": {"augment": {"flip": "random"}}, "60 epochs": {"epochs": 60},
}

# weight: a stage's share of the time
STAGES = [
    Stage("env", 2, env), Stage("correct", 5, correct), Stage("step", 8, step), Stage("loader", 3, loader),
    Stage("profile", 2, profile), Stage("e2e", 5, e2e), Stage("ablation", 10, ablation), Stage("tune", 4, tune),
]
