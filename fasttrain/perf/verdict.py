"""What bounds a training step, in one word and one sentence with the number that says so."""

from dataclasses import dataclass

# A GPU runs behind the host, so a loader that keeps up is never waited for; a CPU does both in turn.
DATA_LIMIT = {"cuda": 0.05, "cpu": 0.5}
LAUNCH_LIMIT = 0.3


@dataclass(frozen=True)
class Shares:
    """Shares of a step's time. data: spent waiting for the loader. launch: nothing to do because operators are started
    too slowly. bandwidth, mfu: what the bytes and FLOPs would take at the machine's ceilings."""

    data: float
    launch: float
    bandwidth: float
    mfu: float


def bound_by(shares, device_type):
    """"data", "launch", "bandwidth" or "compute"."""
    if shares.data > DATA_LIMIT[device_type]:
        return "data"
    if shares.launch > LAUNCH_LIMIT:
        return "launch"
    return "bandwidth" if shares.bandwidth > shares.mfu else "compute"


def sentence(bound, shares, ceilings, setting):
    """The verdict. `setting`: dict of `loader`, `batch_size`, `compile`, `precision` and `device_type`."""
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


def flop_rate(value):
    """FLOP/s in words."""
    return f"{value / 1e12:,.1f} TFLOP/s" if value >= 1e12 else f"{value / 1e9:,.1f} GFLOP/s"


def fewer_bytes(gpu, setting):
    if gpu and setting["precision"] == "fp32":
        return "--precision auto"
    if gpu and setting["compile"] == "off":
        return "--compile auto, which fuses element-wise work"
    return f"a larger --batch-size than {setting['batch_size']}, or fewer pixels"


def more_flops(gpu, mfu, setting):
    if gpu and setting["precision"] == "fp32":
        return "--precision auto"
    if mfu < 0.5:
        return f"a larger --batch-size than {setting['batch_size']}, which keeps the units busier"
    return "a faster device: little is left to gain on this one"
