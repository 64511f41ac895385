"""The peers, which live beside the package: others' trainers and networks are no part of what is installed."""

import importlib.util
import sys
from pathlib import Path

import fasttrain
from fasttrain.errors import ConfigError

NAME = "benchmarks.peers"


def load_peers():
    """Returns the package benchmarks.peers of the source tree; ConfigError where fasttrain was installed without it."""
    file = Path(fasttrain.__file__).resolve().parents[1] / "benchmarks" / "peers" / "__init__.py"
    if not file.is_file():
        raise ConfigError("--peers: benchmarks/peers is no part of an installed fasttrain; run this from a clone of it")
    if NAME in sys.modules:
        return sys.modules[NAME]
    spec = importlib.util.spec_from_file_location(NAME, file)
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    return peers
