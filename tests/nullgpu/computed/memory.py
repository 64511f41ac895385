"""Tensors of the CPU over the memory of tensors of the null GPU, which is host memory."""

import ctypes

import torch


def host(tensor):
    """A CPU tensor that is `tensor`: same memory, shape, strides and type. It does not keep the memory alive."""
    if tensor.device.type == "cpu":
        return tensor
    if tensor.numel() == 0:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    elements = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    memory = (ctypes.c_char * (elements * tensor.element_size())).from_address(tensor.data_ptr())
    return torch.frombuffer(memory, dtype=tensor.dtype).as_strided(tensor.shape, tensor.stride())
