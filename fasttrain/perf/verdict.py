"""What bounds a training step: one word, and one sentence with the number that shows it."""

from dataclasses import dataclass

# A GPU works behind the host and never waits for a loader that keeps up; a CPU loads and computes in turn.
DATA_LIMIT = {"cuda": 0.05, "cpu": 0.5}
LAUNCH_LIMIT = 0.3


@dataclass(frozen=True)
class Shares:
    """Shares of a step's time.

    data: waits for the loader. launch: idles because operators start too slowly. bandwidth, mfu: what the bytes and
    the FLOPs would take at the machine's ceilings.
    """

    data: float
    launch: float
    bandwidth: float
    mfu: float


def bound_by(shares: Shares, device_type: str) -> str:
    """Returns "data", "launch", "bandwidth" or "compute"."""
    if shares.data > DATA_LIMIT[device_type]:
        return "data"
    if shares.launch > LAUNCH_LIMIT:
        return "launch"
    return "bandwidth" if shares.bandwidth > shares.mfu else "compute"


def sentence(bound: str, shares: Shares, ceilings: dict[str, float], setting: dict) -> str:
    """Returns the verdict. setting: `loader`, `batch_size`, `compile`, `precision` and `device_type`."""
    gpu = setting["device_type"] == "cuda"
    fact, advice = {
        "data": (f"{shares.data:.0%} of each step waits for the loader {setting['loader']}",
                 "more cores or faster storage" if setting["loader"] == "resident" else "--loader resident"),
        "launch": (f"starting operators one by one takes {shares.launch:.0%} of each step",
                   "--compile auto" if gpu and setting["compile"] == "off"
                   else f"a larger --batch-size than {setting['batch_size']}"),
        "bandwidth": (f"its bytes alone take {shares.bandwidth:.0%} of each step at the "
                      f"{ceilings['copy_bytes_per_second'] / 1e9:,.0f} GB/s of a copy",
                      fewer_bytes(gpu, setting)),
        "compute": (f"it reaches {shares.mfu:.0%} of the {flop_rate(ceilings['matmul_flops'])} of a large "
                    f"{setting['precision']} matrix product", more_flops(gpu, shares.mfu, setting)),
    }[bound]
    return f"{bound}-bound: {fact}; try {advice}"


def flop_rate(value: float) -> str:
    """Returns FLOP/s in words."""
    return f"{value / 1e12:,.1f} TFLOP/s" if value >= 1e12 else f"{value / 1e9:,.1f} GFLOP/s"


def fewer_bytes(gpu: bool, setting: dict) -> str:
    if gpu and setting["precision"] == "fp32":
        return "--precision auto"
    if gpu and setting["compile"] == "off":
        return "--compile auto, which fuses element-wise work"
    return f"a larger --batch-size than {setting['batch_size']}, or fewer pixels"


def more_flops(gpu: bool, mfu: float, setting: dict) -> str:
    if gpu and setting["precision"] == "fp32":
        return "--precision auto"
    if mfu < 0.5:
        return f"a larger --batch-size than {setting['batch_size']}, which keeps the units busier"
    return "a faster device: little is left to gain on this one"
