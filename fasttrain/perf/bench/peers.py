"""The peers, which live beside the package: others' trainers and networks are no part of what is installed."""

import importlib
import sys
from pathlib import Path

import fasttrain
from fasttrain.errors import ConfigError


def load_peers():
    """The package benchmarks.peers of the source tree; ConfigError where fasttrain was installed without it."""
    root = Path(fasttrain.__file__).resolve().parents[1]
    if not (root / "benchmarks" / "peers" / "__init__.py").is_file():
        raise ConfigError("--peers: benchmarks/peers is no part of an installed fasttrain; run this from a clone of it")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.peers")
