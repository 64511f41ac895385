"""The layer table for people: rows of modules, then totals."""

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fasttrain.perf.summary import QUANTITIES, Summary, sums

NOT_COUNTED = "not counted"


def render(summary: Summary, console: Console | None = None) -> None:
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
    if summary.not_counted:
        console.print(f"{NOT_COUNTED.capitalize()}: {', '.join(summary.not_counted)}", soft_wrap=True)


def full_table(summary: Summary) -> Table:
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


def compact_table(summary: Summary) -> Table:
    totals = {"torchstat's total": summary.totals, "all that ran": summary.true_totals}
    return layer_table(summary, ("params", "MB", "MAdd", "FLOPs", "R+W B"), rounded, totals)


def layer_table(summary: Summary, columns: tuple[str, ...], cells: Callable, totals: dict[str, dict]) -> Table:
    """Returns the table. cells: turns a dict of quantities into the texts of `columns`; totals: quantities by line."""
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


def exact(quantities: dict) -> list[str]:
    return [cell(quantities, key, lambda value: f"{value:,}") for key in QUANTITIES]


def rounded(quantities: dict) -> list[str]:
    return [*(cell(quantities, key, lambda value: scaled(value, places=1))
              for key in ("params", "memory_mb", "madd", "flops")),
            cell(quantities, "mem_rw", lambda value: scaled(value, base=1024, places=1))]


def cell(quantities: dict, key: str, say: Callable) -> str:
    """Returns a quantity in words; one without a rule says so once in its row, under MAdd."""
    value = quantities[key]
    if value is None:
        return NOT_COUNTED if key == "madd" else "-"
    return f"{value:.2f}" if key == "memory_mb" else say(value)


def shape(sizes: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in sizes)


def scaled(value: int, base: int = 1000, places: int = 2) -> str:
    """148746240 -> "148.75M"."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if value >= base**power:
            return f"{round(value / base**power, places)}{unit}"
    return str(value)


def totals_table(summary: Summary) -> Table:
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
