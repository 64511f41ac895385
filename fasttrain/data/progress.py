"""A progress bar on stderr, if that is a terminal."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(show, *columns):
    """A rich Progress (a context manager) that vanishes when done; it shows nothing unless `show` and on a terminal.

    columns: between the bar and the time left, default "done/total".
    """
    console = Console(stderr=True)
    columns = columns or (MofNCompleteColumn(),)
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn(),
                    console=console, transient=True, disable=not (show and console.is_terminal))
