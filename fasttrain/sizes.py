"""Progressive image sizes: which epochs of a run train on shrunken images, and how large these are.

Early epochs on small images cost a fraction of the FLOPs and teach almost as much (fastai's progressive resizing;
"FixRes", arXiv:1906.06423, on why validation at another size needs care). No torch in here: a wrong plan answers
at once.
"""

import re

from fasttrain.errors import ConfigError

OFF = "off"
FORMS = "32x5,48x2,64x1 (size x epochs) or 32:0.6,48:0.25,64:0.15 (size:share of the run)"
SMALLEST = 32  # pixels; below, the network's last map would vanish
SHARES_ADD_UP = 0.01  # how far from 1 the sum of the shares may be: 0.33 three times is meant well


def check(name: str, value: object) -> str:
    """Returns a plan of sizes in its plain form, or "off"; ConfigError for text that is no plan."""
    if value in (OFF, False):  # YAML reads a bare `off` as false
        return OFF
    parts = parse(value) if isinstance(value, str) else None
    if not parts:
        quote = "" if isinstance(value, str) else "; in a YAML file put it in quotes"
        raise ConfigError(f"{name}: {value!r} is not of the form {FORMS}{quote}")
    for size, amount in parts:
        if size < SMALLEST:
            raise ConfigError(f"{name}: {size} px is too small: use {SMALLEST} px or more")
        if amount <= 0:
            raise ConfigError(f"{name}: {size} px gets no epochs: leave it out or give it some")
    shares = sum(amount for _, amount in parts)
    if by_share(value) and abs(shares - 1) > SHARES_ADD_UP:
        raise ConfigError(f"{name}: the shares add up to {shares:g}, not to 1")
    return value.replace(" ", "")


def parse(plan: str) -> list[tuple[int, float]] | None:
    """The (size, epochs) or (size, share) pairs of a plan, in order; None for text of neither form."""
    parts = plan.replace(" ", "").split(",")
    for pattern, amount in ((r"(\d{1,6})x(\d{1,6})", int), (r"(\d{1,6}):(\d+(?:\.\d*)?|\.\d+)", float)):
        found = [re.fullmatch(pattern, part) for part in parts]
        if all(found):
            return [(int(match[1]), amount(match[2])) for match in found]
    return None


def by_share(plan: str) -> bool:
    """Whether a plan gives shares of the run instead of epochs."""
    return ":" in plan


def total_epochs(plan: str) -> int | None:
    """The epochs of a plan that counts them; None for shares and for "off"."""
    return None if plan == OFF or by_share(plan) else sum(count for _, count in parse(plan))


def epoch_sizes(plan: str, epochs: int, full: int) -> tuple[int, ...]:
    """The size in pixels that each of `epochs` epochs trains at; `full`, the data's, where the plan is "off".

    Shares become whole epochs by the largest remainder; of equal remainders the first gets the epoch.
    """
    if plan == OFF:
        return (full,) * epochs
    parts = parse(plan)
    if by_share(plan):
        quotas = [share * epochs / sum(share for _, share in parts) for _, share in parts]
        counts = [int(quota) for quota in quotas]
        by_remainder = sorted(range(len(parts)), key=lambda i: counts[i] - quotas[i])
        for i in by_remainder[: epochs - sum(counts)]:
            counts[i] += 1
        parts = [(size, count) for (size, _), count in zip(parts, counts, strict=True)]
    return tuple(size for size, count in parts for _ in range(count))


def left_out(plan: str, epochs: int) -> list[int]:
    """The sizes whose share of `epochs` is less than a whole epoch, so that the run never trains at them."""
    trained = epoch_sizes(plan, epochs, 0)
    return [] if plan == OFF else [size for size, _ in parse(plan) if size not in trained]
