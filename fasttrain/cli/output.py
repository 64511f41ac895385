"""What commands print and write."""

import json
import os
from pathlib import Path
from typing import Any

from fasttrain.errors import ConfigError


def check_outputs(*paths: str | None) -> None:
    """Raises ConfigError now, not after minutes of measuring, for a file that could not be written; skips None."""
    for path in map(Path, filter(None, paths)):
        if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigError(f"{path}: cannot be written: name a file in a folder that exists")


def write_json(path: str | None, value: Any) -> None:
    """Writes JSON to `path`, or nothing where that is None; ConfigError where it cannot be written."""
    if path is None:
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot write: {error.strerror or error}") from None


def print_rich(renderable: Any) -> None:
    """Prints a table or group of rich."""
    from rich.console import Console

    Console().print(renderable)
