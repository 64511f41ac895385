"""Writes numbers, times and names as short text; "-" stands for what is not known."""

import math


def number(value: float | None, form: str = "", unknown: str = "-") -> str:
    """Formats a number; returns `unknown` for None and NaN."""
    return unknown if value is None or math.isnan(value) else format(value, form)


def duration(seconds: float | None) -> str:
    """Formats a time in at most six characters: 0.31s, 12.3s, 2m05s, 1h02m, 3d04h."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 59.95:
        return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds:.2f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else "{}d{:02}h".format(*divmod(round(seconds / 3600), 24))


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: 1 epoch, 5 epochs, 2 classes."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def size(count: float | None) -> str:
    """Formats a number of bytes, in MiB or GiB."""
    if count is None or math.isnan(count):
        return "-"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def short(name: str, limit: int = 24) -> str:
    """Returns a class name without its synonyms, cut to `limit` characters."""
    name = str(name).split(",")[0].strip()
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"
