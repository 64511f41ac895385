"""fasttrain: trains ResNet variants on Tiny-ImageNet as fast as the hardware allows, and shows where the time goes."""

import importlib

__version__ = "0.2.0"

# Importing torch costs seconds: a name is imported when it is first used.
_EXPORTS = {
    "RunConfig": "fasttrain.config",
    "run": "fasttrain.runs.lifecycle",
    "Sink": "fasttrain.train.events",
    "evaluate": "fasttrain.inference.evaluate",
    "predict": "fasttrain.inference.predict",
    "export": "fasttrain.inference.export",
    "load_run": "fasttrain.runs.run",
    "FasttrainError": "fasttrain.errors",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'fasttrain' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_EXPORTS])
