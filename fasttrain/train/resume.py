"""What a run is not resumed with: other images, another number of processes, another network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError, DataError
from fasttrain.format import count


def refuse_other(state: dict[str, Any], folder: Path, config: RunConfig, data: dict[str, str], processes: int,
                 network: str | None) -> None:
    """Raises DataError if a saved state is of other images, ConfigError if of another number or another network.

    folder: of the checkpoints. data: fingerprints of the images. network: fingerprint of the file of one's own.
    """
    if state["data"] != data:
        raise DataError(f"{folder}: was trained on other images than --data holds now")
    before = state.get("processes", 1)
    if config.shards == 1 and before != processes:
        raise ConfigError(f"{folder.parent}: was trained by {count(before, 'process')} so far, not {processes}: "
                          f"resume with --nproc {before} (only runs with shards above 1 may change it)")
    if state.get("network") != network:
        raise ConfigError(f"{folder.parent}: {config.arch} is not what it was when the run began: undo the "
                          "change to its file, or start a new run")


@contextlib.contextmanager
def same_shapes(folder: Path, config: RunConfig) -> Iterator[None]:
    """Turns what torch says of weights that do not fit into one line, a ConfigError."""
    try:
        yield
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ConfigError(f"{folder.parent}: its weights have other names or shapes than those of "
                          f"{config.arch}: give the network that it was trained with") from None
