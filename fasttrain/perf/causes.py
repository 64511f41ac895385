"""Why a step is slow, where that can be told: each cause is looked for by a count or a share against a fixed limit."""

from collections.abc import Callable
from typing import NamedTuple

# a GPU works behind the host and never waits for a loader that keeps up; a CPU loads and computes in turn
WAIT_LIMIT = {"cuda": 0.05, "cpu": 0.15}
READ_FROM_DISK = 0.1  # bytes read for each byte of a batch's pixels; the loaders in memory read none
BUSY = 0.5  # share of a wait in which a core of this process works; below it the process waits too
READS = 1  # values that the host takes from tensors, a step
COPIES = 4  # of activations, a step; putting the images into their type and layout takes up to 2
FP32_SHARE = 0.5  # of the products
NCHW_SHARE = 0.5  # of the convolutions
CALLS_A_TENSOR = 1  # that the optimizer starts; fused and foreach forms start a few for all tensors
WEIGHT_SHARE = 0.6  # of a step's bytes, which the weights take whatever the batch


class Cause(NamedTuple):
    """Something that makes a step slow. share: of the step, about what it costs. value, limit: what was found and what
    is still usual, as text. advice: what to try."""

    name: str
    label: str
    value: str
    limit: str
    found: bool
    share: float
    advice: str


def look_for(facts: dict) -> list[Cause]:
    """Returns every cause that was looked for, those that were found first, the costliest of them on top.

    facts: the details of a profile, see `profile.profile`.
    """
    causes = [check(facts, facts["counts"]) for check in CHECKS]
    return sorted(causes, key=lambda cause: (not cause.found, -cause.share if cause.found else 0))


def loader(facts: dict, counts: dict) -> Cause:
    """The loader is waited for, and it computes or does not read files."""
    limit = WAIT_LIMIT[facts["device_type"]]
    found = facts["wait_share"] > limit and not reads_disk(facts)
    return Cause("loader", "waits for the loader", f"{facts['wait_share']:.1%} of a step", f"{limit:.0%}", found,
                 facts["wait_share"], "more cores" if facts["loader"] == "resident" else "--loader resident")


def disk(facts: dict, counts: dict) -> Cause:
    """The loader is waited for while it waits for files."""
    found = facts["wait_share"] > WAIT_LIMIT[facts["device_type"]] and reads_disk(facts)
    return Cause("disk", "waits for files", f"{facts['bytes_read'] / 2**20:.2f} MiB read a step, a core works in "
                 f"{facts['wait_busy']:.0%} of the wait", f"{READ_FROM_DISK * facts['batch_bytes'] / 2**20:.2f} MiB",
                 found, facts["wait_share"], "--loader resident, or FASTTRAIN_CACHE on faster storage")


def reads_disk(facts: dict) -> bool:
    """Returns whether the loader's time goes to files: it reads them, and no core works meanwhile."""
    return facts["bytes_read"] > READ_FROM_DISK * facts["batch_bytes"] and facts["wait_busy"] < BUSY


def host_reads(facts: dict, counts: dict) -> Cause:
    return Cause("host read", "values read by the host", f"{counts['reads']:.1f} a step", f"below {READS}",
                 counts["reads"] >= READS, facts["launch_share"],
                 "keep values on the device, and read them once an epoch instead of by item() or float()")


def recompiles(facts: dict, counts: dict) -> Cause:
    return Cause("recompile", "graphs compiled while it trains", f"{facts['compilations']} in all", "none",
                 facts["compilations"] > 0, 1.0,
                 "keep shapes and Python values equal from step to step; TORCH_LOGS=recompiles names the reason")


def precision(facts: dict, counts: dict) -> Cause:
    """bf16 is native and fp32 is computed in, or the other way round."""
    known, native = counts["products"] > 0, facts["bf16_native"]
    single = counts["fp32_products"] / counts["products"] if known else float(facts["precision"] == "fp32")
    emulated = facts["precision"] == "bf16" and not native
    told = "bf16, emulated" if emulated else f"{single:.0%} of products in fp32"
    return Cause("precision", "slow precision", f"{told}, bf16 {'is' if native else 'is not'} native",
                 f"{FP32_SHARE:.0%}", emulated or (native and single > FP32_SHARE), 0.5, "--precision auto")


def layout(facts: dict, counts: dict) -> Cause:
    share = counts["nchw"] / counts["convolutions"] if counts["convolutions"] else 0.0
    return Cause("layout", "convolutions not channels last", f"{counts['nchw']} of {counts['convolutions']}",
                 f"{NCHW_SHARE:.0%}", share > NCHW_SHARE, 0.3, "--set channels_last=true")


def threads(facts: dict, counts: dict) -> Cause:
    used, cores = facts["threads"] or facts["cores"], facts["cores"]
    return Cause("threads", "cores left idle", f"{used} of {cores} cores used", "none idle",
                 facts["device_type"] == "cpu" and used < cores, 1 - used / cores, f"--threads {cores}, or auto")


def batch(facts: dict, counts: dict) -> Cause:
    share = facts["weight_share"]
    return Cause("small batch", "bytes moved for weights, not images", f"{share:.0%} with batch {facts['batch_size']}",
                 f"{WEIGHT_SHARE:.0%}", share > WEIGHT_SHARE, share / 2,
                 f"a larger --batch-size than {facts['batch_size']}")


def optimizer(facts: dict, counts: dict) -> Cause:
    calls = counts["optimizer_calls"] / max(1, counts["tensors"])
    return Cause("optimizer", "optimizer goes tensor by tensor", f"{calls:.1f} operators for each parameter tensor",
                 f"{CALLS_A_TENSOR}", calls > CALLS_A_TENSOR, facts["optimizer_share"], "fused=True or foreach=True")


def copies(facts: dict, counts: dict) -> Cause:
    return Cause("activation copies", "activations copied in the forward pass", f"{counts['copies']:.1f} a step",
                 f"{COPIES}", counts["copies"] > COPIES, 0.2,
                 "remove hooks that clone activations or bring them to the host")


CHECKS: tuple[Callable[[dict, dict], Cause], ...] = (loader, disk, host_reads, recompiles, precision, layout, threads,
                                                    batch, optimizer, copies)


def tell(cause: Cause) -> str:
    """Returns a cause in one line."""
    return f"{cause.label}: {cause.value} (usual: {cause.limit}); try {cause.advice}"
