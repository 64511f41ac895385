"""The layer table: parameters, memory, arithmetic and traffic of one image's forward pass.

The rows and `totals` agree with torchstat 0.0.7 to the byte, so that its published tables can be compared. It looks at
leaf modules alone and lists each once, with its last call. `true_totals` applies the same rules to everything that
runs: each call of a shared module, residual adds and global pools. `flop_counter` is what `torch.utils.flop_counter`
counts: two per multiply-add of convolutions, matrix products and attention, nothing else.

What has no rule in `layer_rules` is not counted: its numbers are None, sums leave it out, `not_counted` names it.
"""

import contextlib
import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from fasttrain.models import build_model
from fasttrain.perf import layer_rules as rules

BYTES = 4  # torchstat's tables are fp32, whatever the model is


@dataclasses.dataclass(frozen=True)
class Row:
    """One call of a module or an operation. Shapes leave out the batch; `mem_read` and `mem_write` are bytes.

    kind: the class whose rule a module follows, or the operation's name. Numbers that no rule gives are None.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    params: int
    madd: int | None
    flops: int | None
    mem_read: int | None
    mem_write: int | None

    @property
    def memory_mb(self) -> float:
        return BYTES * math.prod(self.output_shape) / 2**20

    @property
    def mem_rw(self) -> int | None:
        return self.mem_read + self.mem_write if self.counted else None

    @property
    def counted(self) -> bool:
        return self.madd is not None

    def to_json(self) -> dict:
        return {"name": self.name, "input_shape": list(self.input_shape), "output_shape": list(self.output_shape),
                **{key: getattr(self, key) for key in QUANTITIES}}


QUANTITIES = ("params", "memory_mb", "madd", "flops", "mem_read", "mem_write", "mem_rw")


def sums(rows: list[Row]) -> dict:
    """Returns the sum of each quantity over the rows that have it."""
    return {key: sum(getattr(row, key) or 0 for row in rows) for key in QUANTITIES}


@dataclasses.dataclass(frozen=True)
class Summary:
    """What one forward pass costs.

    rows: the leaf modules, as torchstat lists them. calls: all that ran, in that order; residual adds and global pools
    are among them under the names of their operations ("aten.add", "aten.mean", ...). parameters: of the whole network,
    each once. flop_counter: FLOPs by `torch.utils.flop_counter`.
    """

    rows: list[Row]
    calls: list[Row]
    parameters: int
    flop_counter: int

    @property
    def totals(self) -> dict:
        """torchstat's totals. It has no sum of `mem_read` or `mem_write`: its total line repeats the last row's."""
        total = sums(self.rows)
        return {key: total[key] for key in ("params", "memory_mb", "madd", "flops", "mem_rw")}

    @property
    def true_totals(self) -> dict:
        """The sums over all that ran; parameters count once, however often they are used."""
        return {**sums(self.calls), "params": self.parameters}

    @property
    def not_counted(self) -> list[str]:
        """What has no rule, sorted: types of modules, and operations with the type of the module that runs them."""
        return sorted({call.kind for call in self.calls if not call.counted})

    def count(self, *names: str) -> dict:
        """Returns how often one of these operations ran, and the elements it took in (an add: in each operand)."""
        found = [call for call in self.calls if call.name in names]
        return {"calls": len(found), "elements": sum(math.prod(call.input_shape) for call in found)}

    @property
    def residual_adds(self) -> dict:
        return self.count(rules.ADD)

    @property
    def global_pools(self) -> dict:
        return self.count(*rules.POOLS)

    def to_json(self) -> dict:
        """Returns a dict that `json.dump` takes: memory in MB (2^20 bytes), traffic in bytes, the rest counts."""
        columns = sums(self.rows)
        return {"rows": [row.to_json() for row in self.rows], "totals": self.totals,
                "column_sums": {key: columns[key] for key in ("mem_read", "mem_write")},
                "true_totals": self.true_totals, "residual_adds": self.residual_adds,
                "global_pools": self.global_pools, "flop_counter": self.flop_counter,
                "not_counted": self.not_counted}


def summarize(arch: str, head: str, num_classes: int = 200, image_size: int = 64, stem: str = "standard") -> Summary:
    """Returns the Summary of a variant; see `build_model` for the arguments and errors. Allocates no weights."""
    with torch.device("meta"):
        model = build_model(arch, head, num_classes, image_size, stem)
    return summarize_model(model, image_size)


def summarize_model(model: nn.Module, image_size: int = 64) -> Summary:
    """Returns the Summary of any network on [1, 3, image_size, image_size] images, on the device where it lives.

    Runs one forward pass in eval mode without gradients; the model, its buffers and its mode stay as they were.
    Leaf modules that the pass does not reach have no row.
    """
    image = next(model.parameters()).new_zeros(1, 3, image_size, image_size)
    counter, recorder = FlopCounterMode(display=False), Recorder(model)
    with torch.no_grad(), eval_mode(model), recorder.hooks(), counter, recorder:
        model(image)
    return Summary(recorder.rows(), recorder.calls, rules.parameter_count(model), counter.get_total_flops())


@contextlib.contextmanager
def eval_mode(model):
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


class Recorder(TorchDispatchMode):
    """Records the calls of a forward pass: of leaf modules through hooks, of operations outside of them as they run.

    What a leaf runs inside is part of its own row, except where the leaf is TRANSPARENT.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.leaves = {module: name for name, module in model.named_modules() if next(module.children(), None) is None}
        self.calls, self.last, self.running = [], {}, []

    def rows(self):
        """Returns the last call of each leaf, in the order of the network's definition."""
        return [self.last[module] for module in self.leaves if module in self.last]

    @contextlib.contextmanager
    def hooks(self):
        with contextlib.ExitStack() as stack:
            for module in self.model.modules():
                stack.callback(module.register_forward_pre_hook(self.enter).remove)
                stack.callback(module.register_forward_hook(self.leave, with_kwargs=True).remove)
            yield

    def enter(self, module, inputs):
        self.running.append(module)

    def leave(self, module, inputs, named, output):
        self.running.pop()
        if module in self.leaves:
            x, y = first_tensor((*inputs, *named.values())), first_tensor(output)
            cost = rules.module_cost(module, x.numel(), y.numel())
            row = make_row(self.leaves[module], rules.kind_of(module), x, y,
                           rules.parameter_count(module), cost)
            self.last[module] = row
            self.calls.append(row)

    def sees_into(self, module):
        return module not in self.leaves or isinstance(module, rules.TRANSPARENT)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        inside = self.running[-1] if self.running else self.model
        inputs = [value for value in args if torch.is_tensor(value)]
        if self.sees_into(inside) and rules.computes(function, inputs, output):
            name = rules.operation_name(function)
            cost = rules.operation_cost(name, inputs, output)
            kind = name if cost else f"{name.removeprefix('aten.')} in {type(inside).__name__}"
            self.calls.append(make_row(name, kind, inputs[0], output, 0, cost))
        return output


def first_tensor(value) -> Tensor:
    """Returns a tensor, or the first one of a nested tuple."""
    return value if torch.is_tensor(value) else first_tensor(value[0])


def make_row(name: str, kind: str, x: Tensor, y: Tensor, params: int, cost: rules.Quantities | None) -> Row:
    """Returns the Row of a call from `x` to `y`; without a cost it is one that is not counted."""
    madd, flops, read, written = cost or (None,) * 4
    return Row(name, kind, tuple(x.shape[1:]), tuple(y.shape[1:]), params, madd, flops,
               cost and BYTES * read, cost and BYTES * written)
