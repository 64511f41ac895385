"""The rows of `bench step` and `bench e2e`."""

from fasttrain.bench.results import spread


def make_row(config, name, facts, samples):
    """The row of a contender that ran.

    facts: `batch_size`, `precision`, `compile`, `channels_last`, `loader`, `compile_seconds`, `flops_per_image` (in
    training) and `matmul_flops` (the ceiling measured beside it). samples: measurements, each with `seconds`, `images`,
    `steps` and `peak_memory_bytes`.
    """
    speed = spread(sample["images"] / sample["seconds"] for sample in samples)
    return {**identity(config, name, facts),
            "images_per_second": speed,
            "step_ms": spread(1e3 * sample["seconds"] / sample["steps"] for sample in samples),
            "compile_seconds": facts["compile_seconds"],
            "peak_memory_bytes": max(sample["peak_memory_bytes"] for sample in samples),
            "mfu": speed["median"] * facts["flops_per_image"] / facts["matmul_flops"],
            "status": "ok"}


def failed_row(config, name, status):
    """The row of a contender that ran out of memory ("oom") or failed ("error"): it holds no numbers."""
    return {**identity(config, name, {}), "images_per_second": spread([]), "step_ms": spread([]),
            "compile_seconds": None, "peak_memory_bytes": None, "mfu": None, "status": status}


def identity(config, name, facts):
    keys = ("batch_size", "precision", "compile", "channels_last", "loader")
    return {"arch": config.arch, "head": config.head, **{key: facts.get(key, getattr(config, key)) for key in keys},
            "name": name}


def label(row):
    """A row's settings in words."""
    layout = "channels-last" if row["channels_last"] else "NCHW"
    return f"{row['name']}: batch {row['batch_size']}, {row['precision']}, compile {row['compile']}, {layout}"
