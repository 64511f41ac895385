"""The layer table: parameters, memory, arithmetic and traffic of one image's forward pass.

The rows and `totals` follow torchstat 0.0.7 (https://github.com/Swall0w/torchstat) to the byte, so that its published
tables can be compared. It looks at leaf modules alone and lists each once, with its last call. `true_totals` applies
the same rules to everything that runs: each call of a shared module, residual adds and global pools. `flop_counter` is
what `torch.utils.flop_counter` counts: two per multiply-add of convolutions and linear layers, nothing else.
"""

import contextlib
import dataclasses
import functools
import math

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fasttrain.models import build_model

BYTES = 4  # torchstat's tables are fp32, whatever the model is


@dataclasses.dataclass(frozen=True)
class Row:
    """One call. Shapes leave out the batch; `mem_read` and `mem_write` are bytes."""

    name: str
    input_shape: tuple
    output_shape: tuple
    params: int
    madd: int
    flops: int
    mem_read: int
    mem_write: int

    @property
    def memory_mb(self):
        return BYTES * math.prod(self.output_shape) / 2**20

    @property
    def mem_rw(self):
        return self.mem_read + self.mem_write

    def to_json(self):
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            **{key: getattr(self, key) for key in QUANTITIES},
        }


QUANTITIES = ("params", "memory_mb", "madd", "flops", "mem_read", "mem_write", "mem_rw")


def sums(rows):
    return {key: sum(getattr(row, key) for row in rows) for key in QUANTITIES}


@dataclasses.dataclass(frozen=True)
class Summary:
    """What one forward pass costs.

    `rows`: the leaf modules, as torchstat lists them. `calls`: all that ran, in that order; residual adds and global
    pools are among them under the names of their operations ("aten.add", "aten.mean", ...).
    `flop_counter`: FLOPs by `torch.utils.flop_counter`.
    """

    rows: list
    calls: list
    flop_counter: int

    @property
    def totals(self):
        """torchstat's totals. It has no sum of `mem_read` or `mem_write`: its total line repeats the last row's."""
        total = sums(self.rows)
        return {key: total[key] for key in ("params", "memory_mb", "madd", "flops", "mem_rw")}

    @property
    def true_totals(self):
        """The sums over all that ran; parameters count once, however often they are used."""
        return {**sums(self.calls), "params": self.totals["params"]}

    def count(self, *names):
        """How often one of these operations ran, and the elements they took in (an add: in each operand)."""
        found = [call for call in self.calls if call.name in names]
        return {"calls": len(found), "elements": sum(math.prod(call.input_shape) for call in found)}

    @property
    def residual_adds(self):
        return self.count(ADD)

    @property
    def global_pools(self):
        return self.count(*POOLS)

    def to_json(self):
        """A dict that `json.dump` takes: memory in MB (2^20 bytes), traffic in bytes, the rest counts."""
        columns = sums(self.rows)
        return {
            "rows": [row.to_json() for row in self.rows],
            "totals": self.totals,
            "column_sums": {key: columns[key] for key in ("mem_read", "mem_write")},
            "true_totals": self.true_totals,
            "residual_adds": self.residual_adds,
            "global_pools": self.global_pools,
            "flop_counter": self.flop_counter,
        }


def summarize(arch, head, num_classes=200, image_size=64, stem="standard"):
    """The Summary of a variant; see `build_model` for the arguments and errors. Allocates no weights."""
    with torch.device("meta"):
        model = build_model(arch, head, num_classes, image_size, stem)
    return summarize_model(model, image_size)


def summarize_model(model, image_size=64):
    """The Summary of any network on [1, 3, image_size, image_size] images, on the device where it lives.

    Runs one forward pass in eval mode without gradients; the model, its buffers and its mode stay as they were.
    Leaf modules that the pass does not reach are left out.
    """
    leaves = {module: name for name, module in model.named_modules() if next(module.children(), None) is None}
    calls, last = [], {}

    def record(module, inputs, output):
        last[module] = measure(leaves[module], module, inputs[0], output)
        calls.append(last[module])

    image = next(model.parameters()).new_zeros(1, 3, image_size, image_size)
    counter = FlopCounterMode(display=False, custom_mapping=functional_operations(calls))
    with contextlib.ExitStack() as stack, torch.no_grad(), eval_mode(model):
        for module in leaves:
            stack.callback(module.register_forward_hook(record).remove)
        with counter:
            model(image)
    rows = [last[module] for module in leaves if module in last]
    return Summary(rows, calls, counter.get_total_flops())


@contextlib.contextmanager
def eval_mode(model):
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def measure(name, module, x, y):
    madd, flops, read, written = cost(module, x.numel(), y.numel())
    return Row(name, tuple(x.shape[1:]), tuple(y.shape[1:]), size(module), madd, flops, BYTES * read, BYTES * written)


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


@functools.singledispatch
def cost(module, i, o):
    """(MAdd, FLOPs, elements read, elements written) of one call with `i` elements in and `o` out.

    torchstat counts nothing for what is not registered below: dropout, adaptive pools, ...
    """
    return 0, 0, 0, 0


@cost.register
def _(module: nn.Conv2d, i, o):
    products = math.prod(module.kernel_size) * module.in_channels // module.groups
    bias = module.bias is not None
    return o * (2 * products - 1 + bias), o * (products + bias), i + size(module), o


@cost.register
def _(module: nn.BatchNorm2d, i, o):
    return 4 * i, 2 * i, i + 2 * module.num_features, i


@cost.register
def _(module: nn.ReLU, i, o):
    return i, i, i, i


@cost.register
def _(module: nn.MaxPool2d, i, o):
    kernel = module.kernel_size
    area = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    return (area - 1) * o, i, i, o


@cost.register
def _(module: nn.Linear, i, o):
    return o * (2 * module.in_features - 1), o * module.in_features, i + size(module), o


ADD = "aten.add"
POOLS = ("aten.mean", "aten.amax", "aten.avg_pool2d")


def functional_operations(calls):
    """Formulas for FlopCounterMode that append residual adds and global pools to `calls`.

    They return 0, since the counter's own total has no element-wise work. An average takes as many operations as it has
    inputs (its adds and one division), a maximum one fewer, as torchstat counts pools that it knows.
    """

    def add(a, b, *_, out_shape, **__):
        if isinstance(b, torch.Size) and len(a) == len(b) == 4:
            n = out_shape.numel()
            calls.append(Row(ADD, tuple(a[1:]), tuple(out_shape[1:]), 0, n, n, 2 * BYTES * n, BYTES * n))
        return 0

    def pool(name, x, *_, out_shape, **__):
        if len(x) == 4:
            i, o = x.numel(), out_shape.numel()
            madd = i - o if name == "aten.amax" else i
            calls.append(Row(name, tuple(x[1:]), tuple(out_shape[1:]), 0, madd, i, BYTES * i, BYTES * o))
        return 0

    aten = torch.ops.aten
    pools = (aten.mean, aten.amax, aten.avg_pool2d)
    return {aten.add: add, aten.add_: add, **{op: functools.partial(pool, str(op)) for op in pools}}


def render(summary, console=None):
    """Prints the table and the totals to `console` (default: stdout).

    A terminal too narrow for every digit gets rounded numbers; a file or pipe always gets every digit.
    """
    console = console or Console()
    table = full_table(summary)
    needed = Console(width=1000).measure(table).maximum
    if not console.is_terminal:
        console = Console(file=console.file, width=needed)
    console.print(table if console.width >= needed else compact_table(summary))
    console.print()
    console.print(totals_table(summary))


def full_table(summary):
    last = summary.rows[-1]
    totals = {
        "torchstat's total *": {**summary.totals, "mem_read": last.mem_read, "mem_write": last.mem_write},
        "sum of the rows": sums(summary.rows),
        "all that ran": summary.true_totals,
    }
    columns = ("params", "MB", "MAdd", "FLOPs", "MemRead B", "MemWrite B", "MemR+W B")
    table = layer_table(summary, columns, exact, totals)
    table.caption = "* its MemRead and MemWrite are the last row's"
    return table


def compact_table(summary):
    totals = {"torchstat's total": summary.totals, "all that ran": summary.true_totals}
    return layer_table(summary, ("params", "MB", "MAdd", "FLOPs", "R+W B"), rounded, totals)


def layer_table(summary, columns, cells, totals):
    """`cells` turns quantities by name into the texts below `columns`; `totals` holds quantities by line name."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, caption_justify="left")
    table.add_column("module", no_wrap=True)
    for name in ("input", "output", *columns):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.rows:
        table.add_row(row.name, shape(row.input_shape), shape(row.output_shape), *cells(row.to_json()))
    table.add_section()
    for name, quantities in totals.items():
        table.add_row(name, "", "", *cells(quantities))
    return table


def exact(quantities):
    return [f"{quantities[key]:.2f}" if key == "memory_mb" else f"{quantities[key]:,}" for key in QUANTITIES]


def rounded(quantities):
    params, madd, flops = (scaled(quantities[key], places=1) for key in ("params", "madd", "flops"))
    return params, f"{quantities['memory_mb']:.2f}", madd, flops, scaled(quantities["mem_rw"], base=1024, places=1)


def shape(sizes):
    return "x".join(str(n) for n in sizes)


def scaled(value, base=1000, places=2):
    """148746240 -> "148.75M"."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if value >= base**power:
            return f"{round(value / base**power, places)}{unit}"
    return str(value)


def totals_table(summary):
    stated, true = summary.totals, summary.true_totals
    adds, pools = summary.residual_adds, summary.global_pools
    table = Table.grid(padding=(0, 4))
    table.add_row("By torchstat's rules", "All that ran: repeats, residual adds, pools")
    table.add_row(f"Total params: {stated['params']:,}", f"{true['params']:,}")
    table.add_row(f"Total memory: {stated['memory_mb']:.2f}MB", f"{true['memory_mb']:.2f}MB")
    table.add_row(f"Total MAdd: {scaled(stated['madd'])}MAdd", f"{scaled(true['madd'])}MAdd")
    table.add_row(f"Total Flops: {scaled(stated['flops'])}Flops", f"{scaled(true['flops'])}Flops")
    table.add_row(f"Total MemR+W: {scaled(stated['mem_rw'], 1024)}B", f"{scaled(true['mem_rw'], 1024)}B")
    table.add_row("Residual adds", f"{adds['calls']}, {adds['elements']:,} elements")
    table.add_row("Global pools", f"{pools['calls']}, {pools['elements']:,} elements" if pools["calls"] else "none")
    table.add_row("torch.utils.flop_counter", f"{scaled(summary.flop_counter)}FLOPs, two per multiply-add")
    return table
