"""Optimizers: each file holds one, its settings and how to build it. No torch at import: configs load these files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fasttrain.checks import Checked, boolean, choice, number, setting
from fasttrain.registry import OPTIMIZERS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Optimizer(Checked):
    """The section `optimizer` of a config: the settings that every optimizer has, beside the learning rate `lr`.

    averages: how many tensors of a weight's size it keeps for each weight.
    """

    prefix: ClassVar[str] = "optimizer."
    averages: ClassVar[int] = 0
    name: str = setting(choice(OPTIMIZERS.names))
    weight_decay: float = setting(number(0), 1e-4, "how strongly each step pulls weights towards zero")
    decay_norm_and_bias: bool = setting(boolean, True, "whether BatchNorm parameters and biases decay too")

    def build(self, groups: list[dict[str, Any]], lr: "torch.Tensor") -> "torch.optim.Optimizer":
        """Returns the optimizer of these parameter groups.

        lr: float32 scalar on their device, read at each step. A step captured as a CUDA graph needs the state tensors
        of each parameter to be there before it.
        """
        raise NotImplementedError


def parameter_groups(model: "torch.nn.Module", settings: Optimizer) -> list[dict[str, Any]]:
    """Returns two groups: the weights, which decay, and BatchNorm parameters and biases, which may be spared."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    vector_decay = settings.weight_decay if settings.decay_norm_and_bias else 0.0
    return [{"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": vector_decay}]


def trained(groups: list[dict[str, Any]]) -> Iterator["torch.Tensor"]:
    """Yields the parameters of all groups but the frozen ones, which need no state: they never have a gradient."""
    for group in groups:
        yield from (parameter for parameter in group["params"] if parameter.requires_grad)


def build_optimizer(model: "torch.nn.Module", settings: Optimizer,
                    device: "torch.device") -> tuple["torch.optim.Optimizer", "torch.Tensor"]:
    """Returns the optimizer of a model and its learning rate.

    The rate is a float32 scalar tensor on the device: changing it neither recompiles nor synchronises.
    """
    import torch

    lr = torch.zeros((), device=device)
    return settings.build(parameter_groups(model, settings), lr), lr


def load_state(optimizer: "torch.optim.Optimizer", state: dict[str, Any], lr: "torch.Tensor") -> None:
    """Takes over a saved state, in the tensors that there are: CUDA graphs hold them. lr: as of `build_optimizer`."""
    import torch

    own = {parameter: dict(values) for parameter, values in optimizer.state.items()}
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for key, tensor in own.get(parameter, {}).items():
            if torch.is_tensor(tensor) and key in values:
                values[key] = tensor.copy_(values[key])
    for group in optimizer.param_groups:
        group["lr"] = lr
