"""Networks that are not registered, named by where their factory is: `package.module:factory`, `FILE.py:factory`, or
`timm:NAME` for one of timm's.

Checks for `RunConfig`; `models/own.py` builds what they name. No torch in here.
"""

import re
from pathlib import Path
from typing import Any

from fasttrain.checks import choice
from fasttrain.errors import ConfigError
from fasttrain.registry import ARCHS, HEADS

OWN = "own"  # the head of a network that returns logits itself
LIVE = "live"  # in place of a module: what was given to `run(model=...)`
TIMM = "timm"  # in place of a module: what timm calls by the name that follows


def is_reference(arch: str) -> bool:
    """Returns whether `arch` names a factory rather than a registered network."""
    return ":" in arch


def arch(name: str, value: Any) -> str:
    """Accepts a registered network, or a reference; the path of a file becomes absolute. A check, see `checks`."""
    if not isinstance(value, str) or not is_reference(value):
        return choice(ARCHS.names)(name, value)
    place, _, factory = value.rpartition(":")
    if place == TIMM and re.fullmatch(r"\w[\w.-]*", factory):
        return value
    is_file = place.endswith(".py")
    if not factory.isidentifier() or not (is_file or all(part.isidentifier() for part in place.split("."))):
        raise ConfigError(f"{name}: {value!r} is neither package.module:factory nor FILE.py:factory nor timm:NAME")
    return f"{Path(place).expanduser().absolute()}:{factory}" if is_file else value


def heads() -> list[str]:
    """Returns the heads that a network may have: those registered, and its own."""
    return [*HEADS.names(), OWN]


def short_name(arch: str) -> str:
    """Returns what stands for a network in names of folders: for a reference its factory, such as `timm-resnet18`."""
    place, _, name = arch.rpartition(":")
    return f"{TIMM}-{name}" if place == TIMM else name


def refuse_stem(arch: str, stem: str) -> None:
    """Raises ConfigError for a choice of stem where there is none."""
    if stem != "standard" and is_reference(arch):
        raise ConfigError(f"stem: only registered networks have stems to choose from, not {arch}")


arch.known = ARCHS.names
