"""The rows of `bench step` and `bench e2e`."""

from fasttrain.perf.bench.results import spread

# what a row says of how it was run, in words
SETTINGS = {
    "batch_size": "batch {}".format, "precision": str,
    "compile": lambda value: "eager" if value == "off" else f"compile {value}",
    "channels_last": lambda value: "NHWC" if value else "NCHW", "loader": "loader {}".format,
}


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


def share_ceilings(rows, ceilings):
    """Sets the MFU of each row against the highest ceiling that any row of its precision measured.

    ceilings: the `matmul_flops` of each row's facts, None where it failed. What runs beside a bench lowers a ceiling.
    """
    highest = {}
    for row, ceiling in zip(rows, ceilings, strict=True):
        highest[row["precision"]] = max(ceiling or 0, highest.get(row["precision"], 0))
    for row, ceiling in zip(rows, ceilings, strict=True):
        if ceiling:
            row["mfu"] *= ceiling / highest[row["precision"]]


def failed_row(config, name, status):
    """The row of a contender that ran out of memory ("oom") or failed ("error"): it holds no numbers.

    config: what it was asked to do.
    """
    return {**identity(config, name, {}), "images_per_second": spread([]), "step_ms": spread([]),
            "compile_seconds": None, "peak_memory_bytes": None, "mfu": None, "status": status}


def identity(config, name, facts):
    return {"arch": config.arch, "head": config.head, **{key: facts.get(key, getattr(config, key)) for key in SETTINGS},
            "name": name}


def labels(rows, apart=()):
    """(what all rows share, [what tells each row from the others]) in words, without the settings named in `apart`."""
    words = [in_words(row, apart) for row in rows]
    shared = {key: text for key, text in words[0].items() if all(other.get(key) == text for other in words)}
    own = [", ".join(text for key, text in row.items() if key not in shared) for row in words]
    return ", ".join(shared.values()), [text or row["name"] for text, row in zip(own, rows, strict=True)]


def in_words(row, apart):
    """{setting: text} of a row: its variant first, then its name if that is another one."""
    variant = f"{row['arch']}_{row['head']}"
    return {"variant": variant, **({} if row["name"] == variant else {"name": row["name"]}),
            **{key: say(row[key]) for key, say in SETTINGS.items() if key not in apart and row[key] is not None}}
