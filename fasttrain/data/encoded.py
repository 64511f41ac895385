"""What the loaders that decode have in common: they need JPEG bytes, and a damaged image is named by its row."""

from fasttrain.data.split import Split
from fasttrain.errors import ConfigError, DataError


def require_jpeg(loader: str, split: Split) -> None:
    """Raises ConfigError unless the pack holds the JPEG bytes of every image."""
    if split.jpeg is None:
        raise ConfigError(f"loader {loader}: not all images of this data are JPEG of {split.image_size} x "
                          f"{split.image_size} pixels: use --loader resident")


def damaged(loader: str, split: Split, row: int, reason: object) -> DataError:
    """Returns the error that says which row of the pack cannot be decoded, and what to do."""
    return DataError(f"loader {loader}: {split.name} image in row {row} of the pack is damaged ({reason}): run "
                     "`fasttrain data verify`, then `fasttrain data pack --rebuild`")
