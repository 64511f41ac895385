"""Optimizers. The learning rate is a tensor on the device: a schedule step neither recompiles nor synchronises."""

import torch

from fasttrain.registry import OPTIMIZERS


def parameter_groups(model, config):
    """Two groups: what decays, and BatchNorm parameters and biases, which do so only if the config says so."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    vector_decay = config.weight_decay if config.decay_norm_and_bias else 0.0
    return [{"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": vector_decay}]


def sgd(groups, config, lr):
    """SGD with momentum, one fused kernel a step. Its state is there before the first one, as `Step.changing` wants."""
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    if config.momentum:  # torch would leave them as they come from the allocator where fp16's first step overflows
        for group in groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def build_optimizer(model, config, device):
    """The optimizer that `config` (the section `optimizer`) names, and its learning rate, a float32 scalar tensor."""
    lr = torch.zeros((), device=device)
    return OPTIMIZERS.load(config.name)(parameter_groups(model, config), config, lr), lr
