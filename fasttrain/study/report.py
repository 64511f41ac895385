"""`fasttrain report`: tables, answers and plots from any run folders."""

from collections.abc import Iterable
from pathlib import Path

from fasttrain.errors import DataError


def report(paths: Iterable[str | Path], out: str | Path = "report") -> tuple[dict, Path]:
    """Writes ablation.json, report.html and report.md about the runs in and below `paths` into the folder `out`.

    Returns the content of ablation.json and the folder. Leaves out what is no whole run or was validated on other
    images than most, and names it in `left_out`. DataError where nothing is left.
    """
    from fasttrain.study.analysis.ablation import write_ablation
    from fasttrain.study.analysis.choose import build
    from fasttrain.study.analysis.collect import find_folders, read_runs
    from fasttrain.study.pages import write_report

    folders, missing = find_folders(paths)
    runs, damaged = read_runs(folders)
    left_out = [*missing, *damaged]
    if not runs:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise DataError(f"nothing to report on: {left_out[0]}{more}")
    ablation = build(runs, left_out=left_out)
    write_report(ablation, runs, out)
    write_ablation(ablation, out)
    return ablation, Path(out)
