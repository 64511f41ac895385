"""What the data layer tells on stderr: lines, and a progress bar if that is a terminal."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def tell(text: str) -> None:
    """Prints a line on stderr."""
    print(text, file=sys.stderr)


def progress_bar(show: bool, *columns: ProgressColumn) -> Progress:
    """Returns a rich Progress (a context manager) that vanishes when done; it shows only if `show` and on a terminal.

    columns: between the bar and the time left, default "done/total".
    """
    console = Console(stderr=True)
    columns = columns or (MofNCompleteColumn(),)
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn(),
                    console=console, transient=True, disable=not (show and console.is_terminal))
