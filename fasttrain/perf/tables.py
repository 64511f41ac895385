"""The tables of profiles and benchmarks, which look alike."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def new_table(first: str, *others: str, title: str | None = None, wrap: bool = False) -> Table:
    """Returns a table whose first column holds names and the others numbers. wrap: lets long names take more lines."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=not wrap)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
