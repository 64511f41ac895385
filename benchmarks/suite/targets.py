"""The targets that measurements are held against; each finds its own figure among the rows."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from fasttrain.perf.bench.step import CONTENDER

HEADS = ("maxpool", "dropout")
# images/s of the training step that are wanted of a GPU, 7 to 10 % below what a serial model of its bytes and FLOPs
# predicts: see GPU.md
SPEEDS = {"H200": {"resnet18": 300e3, "resnet50": 95e3}, "H100": {"resnet18": 240e3, "resnet50": 75e3}}


class Target(NamedTuple):
    """One target.

    wanted: in words. find: turns the rows by stage into (figure, where it comes from), or None where it was not
    measured. meets: whether a figure reaches the target. text: the figure's format.
    """

    name: str
    wanted: str
    find: Callable[[dict], Any]
    meets: Callable[[float], bool]
    text: str


def fastest(rows: dict, arch: str, head: str = "origin", batch: int | None = None) -> tuple[float, str] | None:
    """Returns median images/s and settings of the fastest step of fasttrain's own network; None without one."""
    found = [(row["images_per_second"]["median"], f"batch {row['batch_size']}, {row['precision']}, {row['compile']}")
             for row in measured(rows, "step").values() if (row["arch"], row["head"]) == (arch, head)
             and row["contender"] == CONTENDER and batch in (None, row["batch_size"])]
    return max(found, default=None)


def measured(rows: dict, stage: str) -> dict[str, dict]:
    """Returns the rows of a stage that hold numbers."""
    return {name: row for name, row in rows.get(stage, {}).items() if row["status"] in ("ok", "out of time")
            and len(row) > 3}


def slowest_head(rows):
    """Finds the lowest speed of the other heads as a share of origin's."""
    origin = fastest(rows, "resnet18", batch=1024)
    others = [(head, fastest(rows, "resnet18", head, 1024)) for head in HEADS]
    if origin is None or None in (speed for _, speed in others):
        return None
    return min((speed[0] / origin[0], f"{head}, batch 1024") for head, speed in others)


def fed_share(arch):
    def find(rows):
        row = measured(rows, "e2e").get(f"epochs {arch}")
        return row and (row["share"]["median"], f"batch {row['batch_size']}, {row['loader']}")
    return find


def gather_share(rows):
    """Finds the loader's part of a step on the device, while the host runs ahead of it."""
    row = measured(rows, "profile").get("profile resnet18 origin")
    if row is None or row["details"]["loader_wait_ms"] is None:
        return None
    return row["details"]["loader_wait_ms"] / row["step_ms"], f"batch {row['details']['batch_size']}"


def times_peer(arch, peer):
    """Finds the speed of fasttrain's warm epochs, evaluation included, over that of a peer's."""
    def find(rows):
        found = measured(rows, "e2e").get(f"peers {arch}", {})
        return next(((one["median"], f"{one['min']:.2f} - {one['max']:.2f}") for one in found.get("speedups", ())
                     if one["over"] == peer), None)
    return find


def warm_start(rows):
    row = measured(rows, "e2e").get("first step resnet18, cached")
    return row and (row["total_seconds"], f"{row['compile_seconds']:.1f} s of it compiling and capturing")


def top1(recipe, arch, head="origin"):
    """Finds a variant's mean final top-1 over its seeds, in the study with the most of them."""
    def find(rows):
        for name, row in reversed(list(rows.get("ablation", {}).items())):
            for variant in row.get("variants", ()) if name.startswith(recipe + ",") else ():
                if (variant["arch"], variant["head"], variant["metric"]) == (arch, head, "val_top1"):
                    return variant["mean"], f"n={variant['n']}"
        return None
    return find


def deeper_gains(rows):
    small, large = top1("fast", "resnet18")(rows), top1("fast", "resnet50")(rows)
    return small and large and (large[0] - small[0], f"{large[1]}")


def passed(rows):
    """Counts the tests that passed; any failure makes the figure the negative count of failures."""
    found = [row for row in rows.get("correct", {}).values() if "passed" in row]
    if not found:
        return None
    failed = sum(row["failed"] + (row["status"] != "ok") for row in found)
    return -failed or sum(row["passed"] for row in found), f"{sum(row['skipped'] for row in found)} skipped"


TARGETS = [
    Target("tests marked gpu that pass", "all", passed, lambda n: n > 0, "{:,.0f}"),
    Target("resnet18, slowest head over origin", ">= 95 %", slowest_head, lambda share: share >= 0.95, "{:.1%}"),
    Target("resnet18, epochs over the step alone", ">= 97 %", fed_share("resnet18"), lambda s: s >= 0.97, "{:.1%}"),
    Target("resnet50, epochs over the step alone", ">= 97 %", fed_share("resnet50"), lambda s: s >= 0.97, "{:.1%}"),
    Target("resnet18, gather and augment in a step", "< 1 %", gather_share, lambda share: share < 0.01, "{:.2%}"),
    Target("resnet18 over peer (a): PIL, fp32, eager", ">= 10 x", times_peer("resnet18", "original's way"),
           lambda x: x >= 10, "{:.1f} x"),
    Target("resnet18 over peer (b): AMP, channels-last, compiled", ">= 2 x", times_peer("resnet18", "mainstream"),
           lambda x: x >= 2, "{:.2f} x"),
    Target("first step of a process, kernels cached", "<= 20 s", warm_start, lambda seconds: seconds <= 20, "{:.1f} s"),
    Target("resnet18 origin, top-1 after 30 epochs", ">= 50 % (aim 55)", top1("fast", "resnet18"), lambda p: p >= 50,
           "{:.2f} %"),
    Target("resnet50 origin above resnet18", "> 0 points", deeper_gains, lambda points: points > 0, "{:+.2f} points"),
    Target("recipe original, resnet18 origin, top-1", "29.0 +- 1.5 %", top1("original", "resnet18"),
           lambda p: abs(p - 29.0) <= 1.5, "{:.2f} %"),
]


def speed_targets(rows: dict) -> list[Target]:
    """Returns the targets of the training step for the GPU that the rows name, by default an H200."""
    gpus = str(rows.get("env", {}).get("machine", {}).get("devices"))
    name = next((name for name in SPEEDS if name in gpus), "H200")
    return [Target(f"{arch} origin, training step", f">= {least:,.0f} images/s ({name})",
                   functools.partial(fastest, arch=arch), functools.partial(operator.le, least), "{:,.0f} images/s")
            for arch, least in SPEEDS[name].items()]


def verdicts(rows: dict, real: bool) -> list[dict]:
    """Returns each target as a dict of name, wanted, figure, from and verdict. real: a GPU measured, no miniature."""
    return [judge(target, rows, real) for target in (*speed_targets(rows), *TARGETS)]


def judge(target: Target, rows: dict, real: bool) -> dict:
    found = target.find(rows)
    if found is None:
        return {"name": target.name, "wanted": target.wanted, "figure": None, "from": "", "verdict": "not measured"}
    figure, origin = found
    verdict = ("met" if target.meets(figure) else "not met") if real else "miniature"
    return {"name": target.name, "wanted": target.wanted, "figure": target.text.format(figure), "from": origin,
            "verdict": verdict}
