"""Reads a trained network from a checkpoint, with all it takes to use it without its data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fasttrain.config import RunConfig
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.errors import ConfigError, DataError
from fasttrain.models import build_model
from fasttrain.runtime import Runtime
from fasttrain.train.checkpoint import read_checkpoint
from fasttrain.train.step import Normalizer


@dataclass(frozen=True, eq=False)
class Trained:
    """What a checkpoint holds.

    weights: names to tensors on the CPU, the averaged ones where the run averages. classes, class_names: ids and
    readable names in the order of the logits. mean, std: of the training pixels scaled to [0, 1], per channel. epoch:
    how many were finished. row: the line of metrics.jsonl that belongs to the weights; None in the middle of an epoch.
    """

    path: Path
    config: RunConfig
    weights: dict[str, torch.Tensor]
    classes: list[str]
    class_names: list[str]
    mean: list[float]
    std: list[float]
    epoch: int
    row: dict[str, Any] | None

    def build(self) -> nn.Module:
        """Returns the network with its weights, on the CPU in fp32, in evaluation mode: normalised NCHW in, logits out.

        DataError where the weights are those of another network.
        """
        config = self.config
        model = build_model(config.arch, config.head, len(self.classes), config.image_size, config.stem, seed=0)
        try:
            model.load_state_dict(self.weights)
        except (RuntimeError, AttributeError):
            raise DataError(f"{self.path}: its weights are not those of a {config.variant} of {len(self.classes)} "
                            "classes") from None
        return model.eval()

    def classifier(self, runtime: Runtime) -> "Classifier":
        """Returns the network as a `Classifier` on the runtime's device."""
        return Classifier(self.build(), self.mean, self.std, runtime)


class Classifier(nn.Module):
    """A network with its normalisation: uint8 [B, S, S, 3], RGB, in; logits [B, K] out."""

    def __init__(self, model: nn.Module, mean: list[float], std: list[float], runtime: Runtime):
        super().__init__()
        self.normalize = Normalizer(mean, std, runtime)
        self.model = model.to(runtime.device, memory_format=runtime.memory_format)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(self.normalize(images))


def load_trained(path: str | Path, data: str | None = None) -> Trained:
    """Returns the `Trained` in a checkpoint file, or in the best checkpoint of a run folder.

    Takes class names and normalisation that the checkpoint lacks from the data it was trained on, at `data` or where
    its configuration says. Raises DataError for what is no checkpoint or does not fit together.
    """
    state, path = read_checkpoint(path)
    try:
        config = RunConfig(**state["config"])
        facts = state if "classes" in state else facts_of_data(path, config, state["data"], data)
        row = state["rows"][-1] if state["rows"] and not state["step_in_epoch"] else None
        weights = state["ema"] if config.ema else state["model"]
        return Trained(path, config, weights, *(facts[key] for key in ("classes", "class_names", "mean", "std")),
                       epoch=state["epoch"], row=row)
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a checkpoint of this version of fasttrain ({error})") from None


def facts_of_data(path: Path, config: RunConfig, fingerprints: dict[str, str], data: str | None) -> dict[str, Any]:
    """Returns `Split.facts` of the training images; DataError unless they are still those of the checkpoint."""
    pack = open_pack(open_source(data or config.data), config.image_size)
    split = pack.split("train", config.classes, config.limit_train, config.val_fraction)
    if split.fingerprint != fingerprints["train"]:
        raise DataError(f"{path}: holds no class names, and the data is not what it was trained on: name that with "
                        "--data or in $FASTTRAIN_DATA")
    return split.facts
