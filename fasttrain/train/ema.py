"""An exponential moving average of the weights (Polyak averaging), which evaluation then measures."""

import copy

import torch


class Ema:
    """`model`: a copy of a network, in evaluation mode, whose weights are averaged over its training steps.

        average += (1 - decay) * (weight - average)

    BatchNorm's statistics are copied, as torch's AveragedModel does: they are averages already, and would lag twice.
    `update` works in place on fixed tensors and reads the rate from one, so that a CUDA graph can hold it.
    """

    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.averages, self.weights = list(self.model.parameters()), list(model.parameters())
        self.copies, self.statistics = list(self.model.buffers()), list(model.buffers())
        self.rate = torch.zeros((), device=self.averages[0].device)

    def prepare(self, step):
        """Sets the rate for the global step `step`, from 0."""
        self.rate.fill_(1 - decay_at(self.decay, step))

    @torch.no_grad()
    def update(self):
        """Takes in the weights as they are now."""
        changes = torch._foreach_sub(self.weights, self.averages)
        torch._foreach_mul_(changes, self.rate)
        torch._foreach_add_(self.averages, changes)
        torch._foreach_copy_(self.copies, self.statistics)

    def tensors(self):
        """Every tensor that `update` changes."""
        return [*self.averages, *self.copies]


def decay_at(decay, step):
    """The decay at the global step `step`: held down at first, so that the random start is soon forgotten.

    (1 + step) / (10 + step) is the rule of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))
