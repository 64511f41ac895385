"""Finds the peers: others' trainers and networks, which lie beside the package and are not installed with it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import fasttrain
from fasttrain.errors import ConfigError

NAME = "benchmarks.peers"


def load_peers() -> ModuleType:
    """Returns the package benchmarks.peers of the source tree; ConfigError where fasttrain was installed without it."""
    file = Path(fasttrain.__file__).resolve().parents[1] / "benchmarks" / "peers" / "__init__.py"
    if not file.is_file():
        raise ConfigError("--peers: an installed fasttrain has no benchmarks/peers; run this from a clone of fasttrain")
    if NAME in sys.modules:
        return sys.modules[NAME]
    spec = importlib.util.spec_from_file_location(NAME, file)
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    return peers
