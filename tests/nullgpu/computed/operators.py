"""Native operators: beside the CUDA kernel, which computes nothing here, the CPU's works on the same memory."""

import contextlib
import threading

import torch
from torch.utils._pytree import tree_leaves, tree_map

from tests.nullgpu.computed.jobs import submit
from tests.nullgpu.computed.memory import host

# They compute nothing: they allocate, look from elsewhere at the same memory, or ask.
LEFT_ALONE = {"empty", "empty_strided", "as_strided", "view", "_reshape_alias", "unfold", "set_", "resize_",
              "record_stream", "is_pinned", "_pin_memory", "_local_scalar_dense", "view_as_real", "view_as_complex",
              "is_set_to", "equal", "cudnn_is_acceptable", "_cudnn_init_dropout_state"}
# What a GPU adds up in fp32 is computed so.
IN_FP32 = {"aten::cudnn_convolution", "aten::convolution_backward", "aten::mm.out", "aten::mm", "aten::addmm.out",
           "aten::addmm"}
INSIDE = threading.local()
LIBRARY = torch.library.Library("aten", "IMPL")


def install():
    for name in torch._C._dispatch_get_registrations_for_dispatch_key("CUDA"):
        if name.startswith("aten::") and name.removeprefix("aten::").partition(".")[0] not in LEFT_ALONE:
            replace(name)
    replace("aten::copy_")  # has one kernel for all devices
    LIBRARY.impl("aten::equal", lambda one, other: torch.equal(host(one), host(other)), "CUDA")


def replace(name):
    """Lets the operator `name` compute on the CPU after its CUDA kernel ran, which allocates what it returns."""
    kernel = torch.library.get_kernel(name, "CUDA")
    operator, overload = name.removeprefix("aten::").partition(".")[::2]
    function = getattr(getattr(torch.ops.aten, operator), overload or "default")
    tensors = [str(argument.type) == "Tensor" for argument in function._schema.arguments]
    writes = any(argument.alias_info and argument.alias_info.is_write for argument in function._schema.arguments)

    def call(keys, *args, **kwargs):
        boxed = [scalar_tensor(value, args[0]) if takes_tensor and isinstance(value, (bool, int, float)) else value
                 for value, takes_tensor in zip(args, tensors, strict=False)]
        if getattr(INSIDE, "operator", False):  # an operator that another one is made of
            return kernel.call_boxed(keys, *boxed, **kwargs)
        with inside():
            result = kernel.call_boxed(keys, *boxed, **kwargs)
        given = tree_map(on_host, (boxed, kwargs))
        outputs = [] if writes else [host(leaf) for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
        submit(torch.cuda.current_stream().cuda_stream, lambda: compute(name, function, given, outputs))
        return result

    LIBRARY.impl(name, call, "CUDA", with_keyset=True)


def compute(name, function, given, outputs):
    """Calls the operator on tensors of the CPU; what it returns goes to `outputs`."""
    args, kwargs = tree_map(in_fp32, given) if name in IN_FP32 else given
    if name == "aten::cudnn_convolution":
        x, weight, padding, stride, dilation, groups, *_ = args
        result = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups)
    else:
        result = function(*args, **kwargs)
    if outputs:
        for output, value in zip(outputs, filter(torch.is_tensor, tree_leaves(result)), strict=True):
            output.copy_(value)
    elif name in IN_FP32:  # it wrote to a copy
        given[1]["out"].copy_(kwargs["out"])


@contextlib.contextmanager
def inside():
    INSIDE.operator = True
    try:
        yield
    finally:
        INSIDE.operator = False


def scalar_tensor(value, like):
    """A number as the tensor that a kernel takes it for, of the type that it has beside `like`."""
    return torch.tensor(value, dtype=torch.result_type(like, value))


def on_host(value):
    """An argument as the CPU's operator takes it. Scalars are those of now, as a launched kernel has them."""
    if isinstance(value, torch.Generator):
        return None
    if not torch.is_tensor(value):
        return value
    return value.clone() if value.device.type == "cpu" and value.ndim == 0 else host(value)


def in_fp32(value):
    half = torch.is_tensor(value) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value
