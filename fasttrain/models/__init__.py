"""Networks: a backbone and a head."""

import torch

from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.models.freeze import freeze
from fasttrain.models.own import build_own
from fasttrain.references import OWN, is_reference
from fasttrain.registry import ARCHS, HEADS

MIN_IMAGE_SIZE = 32  # pixels: the standard backbone halves its input five times


def build_model(
    arch: str,
    head: str,
    num_classes: int = 200,
    image_size: int = 64,
    stem: str = "standard",
    seed: int | None = None,
) -> torch.nn.Module:
    """Returns a new network that maps [B, 3, image_size, image_size] to [B, num_classes] logits.

    arch, head: names in `registry.ARCHS` and `registry.HEADS`, or a reference to a factory and a head, see `own`.
    stem: "standard" or "small", see `ResNet`. image_size: in pixels, only checked, since the weights have the same
    shapes at every size. seed: decides the weights, the backbone's whatever the head, and leaves torch's random state
    untouched; without it they come from that state.
    Raises ConfigError for an unknown name, fewer than 1 class or fewer than 32 pixels.
    """
    require_at_least(1, "number of classes", num_classes)
    require_at_least(MIN_IMAGE_SIZE, "image size", image_size)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        if is_reference(arch):
            return build_own(arch, head, num_classes, image_size)
        if head == OWN:
            raise ConfigError(f"head: {arch} has none of its own: choose one of {', '.join(HEADS.names())}")
        return ARCHS.load(arch)(HEADS.load(head), num_classes, stem)


def new_network(config: RunConfig, num_classes: int) -> torch.nn.Module:
    """Returns the network of a run as its seed draws it, with what the run freezes."""
    model = build_model(config.arch, config.head, num_classes, config.image_size, config.stem, config.seed)
    if config.freeze:
        freeze(model, config.freeze)
    return model


def require_at_least(minimum: int, what: str, value: int) -> None:
    """Raises ConfigError unless `value` is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{what} must be a whole number of at least {minimum}, got {value!r}")
