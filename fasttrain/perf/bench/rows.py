"""The rows of `bench step` and `bench e2e`."""

from collections.abc import Sequence

from fasttrain.config import RunConfig
from fasttrain.perf.bench.race import Contender
from fasttrain.perf.bench.results import spread

# how each setting of a row reads
SETTINGS = {
    "batch_size": "batch {}".format, "precision": str,
    "compile": lambda value: "eager" if value == "off" else f"compile {value}",
    "channels_last": lambda value: "NHWC" if value else "NCHW", "loader": "loader {}".format,
}


def make_row(contender: Contender, samples: list[dict], name: str | None = None) -> dict:
    """Returns the row of a contender that trains with the RunConfig in its settings, from some of its measurements.

    samples: each with `seconds`, `images`, `steps` and `peak_memory_bytes`. One that ran out of memory or failed has no
    numbers but a status "oom" or "error". name: that of the row, if not the contender's.
    """
    config, name = RunConfig(**contender.settings["config"]), name or contender.name
    if contender.failure:
        return {**identity(config, name, {}), "images_per_second": spread([]), "step_ms": spread([]),
                "compile_seconds": None, "peak_memory_bytes": None, "mfu": None, "status": contender.failure.status}
    return training_row(config, name, contender.facts, samples)


def training_row(config: RunConfig, name: str, facts: dict, samples: list[dict]) -> dict:
    """Returns the row of what trained with a RunConfig. facts: see `contenders.training_facts`."""
    speed = spread(sample["images"] / sample["seconds"] for sample in samples)
    return {**identity(config, name, facts),
            "images_per_second": speed,
            "step_ms": spread(1e3 * sample["seconds"] / sample["steps"] for sample in samples),
            "compile_seconds": facts["compile_seconds"],
            "peak_memory_bytes": max(sample["peak_memory_bytes"] for sample in samples),
            "mfu": speed["median"] * facts["flops_per_image"] / facts["matmul_flops"],
            "status": "ok"}


def share_ceilings(rows: list[dict], contenders: list[Contender]) -> None:
    """Sets the MFU of each row against the highest ceiling that any row's contender measured in its precision.

    What runs beside a benchmark lowers a ceiling.
    """
    ceilings = [0 if contender.failure else contender.facts["matmul_flops"] for contender in contenders]
    highest = {}
    for row, ceiling in zip(rows, ceilings, strict=True):
        highest[row["precision"]] = max(ceiling, highest.get(row["precision"], 0))
    for row, ceiling in zip(rows, ceilings, strict=True):
        if ceiling:
            row["mfu"] *= ceiling / highest[row["precision"]]


def identity(config: RunConfig, name: str, facts: dict) -> dict:
    """Returns what a row says of how it was run: as the facts tell, else as it was asked for."""
    return {"arch": config.arch, "head": config.head, **{key: facts.get(key, getattr(config, key)) for key in SETTINGS},
            "name": name}


def labels(rows: list[dict], apart: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Returns what all rows share and what tells each from the others, in words, without the settings in `apart`."""
    words = [in_words(row, apart) for row in rows]
    shared = {key: text for key, text in words[0].items() if all(other.get(key) == text for other in words)}
    own = [", ".join(text for key, text in row.items() if key not in shared) for row in words]
    return ", ".join(shared.values()), [text or row["name"] for text, row in zip(own, rows, strict=True)]


def in_words(row: dict, apart: Sequence[str]) -> dict[str, str]:
    """Returns {setting: text} of a row: its variant first, then its name if that is another one."""
    variant = f"{row['arch']}_{row['head']}"
    return {"variant": variant, **({} if row["name"] == variant else {"name": row["name"]}),
            **{key: say(row[key]) for key, say in SETTINGS.items() if key not in apart and row[key] is not None}}
