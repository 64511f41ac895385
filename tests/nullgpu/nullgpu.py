"""The null GPU that this process runs on: what was asked of it since `reset`.

`log` lists events, oldest first. Their kinds, and what they tell beside `kind` and `name`:

    kernel, triton      a launch: grid, block (both [x, y, z]); of triton's also registers and spilled_bytes of a thread
    convolution         by cuDNN: x, w, y, each with shape, strides and type (a cudnnDataType_t)
    product             by cuBLAS: shapes and type (a cudaDataType)
    copy, fill          bytes; of a copy also from and to: device, pinned or pageable
    graph               a launch of the captured graph number `launched`, of `nodes` nodes
    sync                the host waits for the device
    allocate, free      the driver's, not those of torch's allocator
    load                a kernel that triton compiled
    record, wait        an event on a stream, and a stream that waits for one
    error               a call that CUDA forbids; unanswered: one that the null GPU knows nothing of

Work for a stream has its number `stream`; a node of a graph also the number `graph`.
"""

import ctypes
import json
import os
from collections import Counter
from types import SimpleNamespace

LIBRARY = ctypes.CDLL(os.environ["NULLGPU"]) if "NULLGPU" in os.environ else None
if LIBRARY:
    LIBRARY.nullgpu_log.restype = LIBRARY.nullgpu_graph.restype = ctypes.c_char_p

BFLOAT16 = 9  # a cudnnDataType_t
LAUNCHES = ("kernel", "triton", "convolution", "product")


def reset():
    """Forgets what was logged so far."""
    LIBRARY.nullgpu_reset()


def log():
    """The events since the last `reset`, without the nodes of captured graphs."""
    return events(LIBRARY.nullgpu_log())


def note(text):
    """Adds a line of one's own, of kind "note"."""
    LIBRARY.nullgpu_note(text.encode())


def graph(number):
    """The nodes of a captured graph."""
    return events(LIBRARY.nullgpu_graph(number))


def events(lines):
    return [json.loads(line, object_hook=lambda fields: SimpleNamespace(**fields)) for line in lines.splitlines()]


def counts(found):
    """How many of the events are of each kind."""
    return Counter(event.kind for event in found)


def launches(found):
    """The events that put a kernel on the device."""
    return [event for event in found if event.kind in LAUNCHES]


def graphs(found):
    """The numbers of the graphs that were launched, in order."""
    return [event.launched for event in found if event.kind == "graph"]


def waits(found):
    """The events in which the host waits for the device, or may: what reads or writes memory that is not pinned."""
    return [event for event in found if event.kind in ("sync", "free")
            or event.kind == "copy" and "pageable" in (event.to, vars(event)["from"])]


def forbidden(found):
    """The names of calls that CUDA forbids where they were made, or that the null GPU knows nothing of."""
    return [event.name for event in found if event.kind in ("error", "unanswered")]


def compiled(found):
    """The names of kernels that were compiled or loaded, and of captures that began."""
    return [event.name for event in found if event.kind in ("load", "begin capture")]


def not_channels_last_bf16(found):
    """The convolutions with a tensor that is NCHW or not bf16."""
    return [event for event in found if event.kind == "convolution"
            and any(tensor.type != BFLOAT16 or tensor.strides[1] != 1 for tensor in (event.x, event.w, event.y))]


def spilled(found):
    """(name, bytes) of generated kernels that keep variables of a thread in memory, because registers ran out.

    Those of a single block apart, such as the loss of a mixed batch: 8 bytes a thread, once a step.
    """
    return [(event.name, event.spilled_bytes) for event in found
            if event.kind == "triton" and event.spilled_bytes and event.grid != [1, 1, 1]]
