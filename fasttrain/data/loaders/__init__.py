"""The loaders: each file is one way to make the same batches. `build` picks one by name."""

from fasttrain.registry import LOADERS


def choose(name, spec):
    """What `auto` stands for: (loader name, one line that says why)."""
    if name != "auto":
        return name, f"loader {name}: asked for"
    gigabytes = len(spec.split) * spec.split.image_size**2 * 3 / 1e9
    return "resident", f"loader resident: {gigabytes:.2f} GB of pixels fit"


def build(name, spec):
    """The loader called `name` for a LoaderSpec; raises ConfigError where it is unknown or cannot serve the data."""
    return LOADERS.load(name)(spec)
