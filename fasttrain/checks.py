"""Checks of single values, and dataclasses whose fields carry them.

A check is a function of (name, value) that returns the value in its proper type or raises ConfigError in one line.
Where the accepted values can be listed, its attribute `known` holds them, or a function that returns them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from fasttrain.errors import ConfigError
from fasttrain.registry import Registry, unknown

Check = Callable[[str, Any], Any]
NO_LIMIT = 2**31 - 1  # as an upper bound of `integer`: error messages leave it out


def integer(low: int, high: int = NO_LIMIT) -> Check:
    """Accepts a whole number in [low, high]."""
    def check(name, value):
        try:
            exact = int(value) if not isinstance(value, bool) and float(value) == int(value) else None
        except (TypeError, ValueError, OverflowError):
            exact = None
        if exact is None or not low <= exact <= high:
            raise ConfigError(f"{name}: {value!r} is not a whole number of at least {low}"
                              + (f" and at most {high}" if high != NO_LIMIT else ""))
        return exact
    return check


def number(low: float, high: float = math.inf, above: bool = False) -> Check:
    """Accepts a finite number in [low, high]; `above` excludes `low` itself."""
    def check(name, value):
        try:
            exact = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            exact = math.nan
        if not math.isfinite(exact) or exact < low or exact > high or (above and exact == low):
            bounds = f"above {low:g}" if above else f"of at least {low:g}"
            raise ConfigError(f"{name}: {value!r} is not a number {bounds}"
                              + (f" and at most {high:g}" if high < math.inf else ""))
        return exact
    return check


def interval(name: str, value: Any) -> int | str:
    """Accepts a number of epochs, or of minutes, such as 5m."""
    if isinstance(value, str) and value.endswith("m"):
        return f"{number(0)(name, value[:-1]):g}m"
    try:
        return integer(1)(name, value)
    except ConfigError:
        raise ConfigError(f"{name}: {value!r} is neither a number of epochs nor one of minutes, such as 5m") from None


def boolean(name: str, value: Any) -> bool:
    """Accepts true or false."""
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        value = words[value.lower()]
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither true nor false")
    return value


def text(name: str, value: Any) -> str:
    """Accepts a string or path that is not empty and holds no NUL."""
    value = str(value) if isinstance(value, (str, Path)) else ""
    if not value or "\0" in value:
        raise ConfigError(f"{name}: needs a value that is not empty")
    return value


def patterns(name: str, value: Any) -> str:
    """Accepts patterns of names joined by commas."""
    return ",".join(text(name, part.strip()) for part in text(name, value).split(","))


def path(name: str, value: Any) -> str:
    """Accepts a path; it becomes absolute."""
    return str(Path(text(name, value)).expanduser().absolute())


def choice(known: Iterable[str] | Callable[[], Iterable[str]]) -> Check:
    """Accepts one of `known`, a sequence or a function that returns one."""
    def check(name, value):
        names = list(known() if callable(known) else known)
        if value is False:  # YAML reads a bare `off` as false
            value = "off"
        if value not in names:
            raise ConfigError(unknown(name, value, names))
        return value
    check.known = known
    return check


def either(word: str, check: Check) -> Check:
    """Accepts the given word, or what `check` accepts."""
    def wrapped(name, value):
        return word if value == word else check(name, value)
    wrapped.known = (word,)
    return wrapped


def optional(check: Check) -> Check:
    """Accepts None, or what `check` accepts."""
    def wrapped(name, value):
        return None if value is None else check(name, value)
    wrapped.known = getattr(check, "known", ())
    return wrapped


def setting(check: Check, default: Any = dataclasses.MISSING, help: str = "") -> Any:  # noqa: A002 - argparse's word
    """Returns a dataclass field with its check and its help line."""
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


class Checked:
    """A frozen dataclass that checks and normalises its fields when it is made. `prefix` precedes their names."""

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = field.metadata["check"](self.prefix + field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    @classmethod
    def key_names(cls) -> list[str]:
        """Returns the names of the fields, in order."""
        return [field.name for field in dataclasses.fields(cls)]


def section(parts: type[Checked] | Registry) -> Check:
    """Accepts a mapping of keys, or the instance made of it: of a class, or of the registered one that `name` chooses.

    The check's attributes `classes` and `key_names` return all that may be chosen, and their keys.
    """
    def classes():
        return [parts] if isinstance(parts, type) else [parts.load(name) for name in parts.names()]

    def key_names():
        return list(dict.fromkeys(key for cls in classes() for key in cls.key_names()))

    def check(name, value):
        if isinstance(value, Checked) and value.prefix == f"{name}.":
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: needs keys, such as {name}.{key_names()[0]}")
        cls = parts if isinstance(parts, type) else parts.load(choice(parts.names)(f"{name}.name", value.get("name")))
        for key in value:
            if key not in cls.key_names():
                if key in key_names():
                    raise ConfigError(f"{name}.{key}: {value['name']} has no such key, only "
                                      + ", ".join(cls.key_names()[1:]))
                raise ConfigError(unknown("key", f"{name}.{key}", [f"{name}.{known}" for known in cls.key_names()]))
        return cls(**value)
    check.classes, check.key_names = classes, key_names
    return check
