"""What a run says, as plain lines: the same words on the console, in `log.txt` and in the card."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from fasttrain.format import count, duration, number, size
from fasttrain.train.events import Finish, Start
from fasttrain.train.rows import stopped_early
from fasttrain.train.status import INTERRUPTED

WIDTH = 80
LEGEND = "  * best top-1 so far"  # of the stars in the table


def entry(label, text, width):
    """A label and its text, wrapped and aligned."""
    return textwrap.wrap(text, width - 1, initial_indent=f"  {label:<8} ", subsequent_indent=" " * 11,
                         break_long_words=False, break_on_hyphens=False)


def block(title, entries, width):
    """Lines of fewer than `width` characters: the title, then each (label, text) that has a text."""
    return [title] + [line for label, text in entries if text for line in entry(label, text, width)]


def describe_recipe(run: Start) -> str:
    """Returns the optimisation in one sentence."""
    config = run.config
    parts = [f"{count(config.epochs, 'epoch')} of {count(run.steps_per_epoch, 'step')}", f"batch {config.batch_size}",
             f"peak lr {config.lr:g}"]
    if config.sizes != "off":
        parts.append(f"sizes {config.sizes}")
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in asdict(config.augment).items()
              if value not in (0, "none")]
    if config.label_smoothing:
        parts.append(f"label smoothing {config.label_smoothing:g}")
    parts += [f"{name} {value:g}" for name, value in asdict(config.mix).items() if value]
    if config.patience:
        parts.append(f"patience {config.patience}")
    if config.ema:
        parts.append(f"validation of weights averaged with decay {config.ema:g}")
    return f"{config.recipe}: " + ", ".join(parts)


def describe_data(run: Start) -> str:
    """Returns the data in one sentence."""
    side, data = run.config.image_size, run.config.data
    return (f"{run.train_images:,} training and {run.val_images:,} validation images of {side}x{side}, "
            f"{count(run.num_classes, 'class')}" + (f", from {data}" if data else ""))


def start_lines(run: Start, width: int = WIDTH) -> list[str]:
    """Returns the block that opens a run, wrapped to `width` characters."""
    compiled = "not compiled" if run.compile == "off" else f"compiled ({run.compile})"
    entries = [
        ("data", describe_data(run)),
        ("recipe", describe_recipe(run)),
        ("device", f"{run.device}, {run.precision}, {compiled}, loader {run.loader}"),
        *[("", note) for note in run.notes],
        ("folder", str(run.folder)),
    ]
    if run.rows or run.step_in_epoch:
        part = f" + {count(run.step_in_epoch, 'step')}" if run.step_in_epoch else ""
        entries.append(("resumed", f"after epoch {len(run.rows)}{part} of {count(run.config.epochs, 'epoch')}"))
    return block(f"{run.config.variant}, {run.parameters:,} parameters", entries, width)


def estimate_line(pace):
    """The first forecast of a run: from its first steps, or from its first epoch where that has too few."""
    line = f"estimate: {duration(pace.epoch_total())} an epoch"
    if pace.run_left() > 0:
        line += f", {duration(pace.run_left())} to go"
    if pace.last.phase == "val":
        return line
    return f"{line} ({pace.images_per_second():,.0f} images/s, data wait {pace.data_wait():.1%})"


def table_header(starred=True):
    """The two lines above the table of epochs; `starred` where a star is to come and needs its legend."""
    return [f"{'':16}{'train':>14}{'validation':>29}" + (LEGEND if starred else ""),
            f"{'epoch':>7}{'lr':>9}{'loss':>7}{'top-1':>7}{'loss':>8}{'top-1':>7}{'top-5':>7}{'F1':>7}"
            f"{'img/s':>7}{'wait':>6}{'time':>7}"]


def loss(value):
    """A loss in at most six characters: a run that blows up must not blow up its table."""
    return number(value, ".3f" if value < 99.9 else ".0f" if value < 1e5 else ".0e")


def table_row(row, epochs, best):
    """One line of the table; a star marks the best epoch so far."""
    cells = [
        (f"{row['epoch']}/{epochs}", 7), (number(row["lr"], ".3g"), 9),
        (loss(row["train_loss"]), 7), (number(row["train_top1"], ".2f"), 7),
        (loss(row["val_loss"]), 8), (number(row["val_top1"], ".2f"), 7), (number(row["val_top5"], ".2f"), 7),
        (number(row["val_macro_f1"], ".2f"), 7), (number(row["images_per_second"], ".0f"), 7),
        (number(row["data_wait_fraction"], ".1%"), 6), (duration(row["seconds"]), 7),
    ]
    return "".join(cell.rjust(width) for cell, width in cells) + ("*" if best else "")


def scores(row):
    """The validation scores of an epoch in words."""
    return (f"top-1 {number(row['val_top1'], '.2f')} %, top-5 {number(row['val_top5'], '.2f')} %, "
            f"F1 {number(row['val_macro_f1'], '.2f')} %, loss {number(row['val_loss'], '.3f')}")


def speed(finish: Finish) -> str:
    """Returns the speed and the memory of a run in words."""
    return (f"{number(finish.images_per_second, ',.0f')} images/s, MFU {number(finish.mfu, '.0%')}, "
            f"data wait {number(finish.data_wait_fraction, '.1%')}, "
            f"compiling {duration(finish.compile_seconds)}, peak memory {size(finish.peak_memory_bytes)}")


def early(run: Start, finish: Finish) -> str:
    """Returns why a run ended before its last epoch, if `patience` ended it."""
    if not stopped_early(finish.rows):
        return ""
    return (f"ended after {len(finish.rows)} of {count(run.config.epochs, 'epoch')}: {run.config.patience} in a row "
            "without a higher top-1")


def finish_lines(run: Start, finish: Finish, width: int = WIDTH) -> list[str]:
    """Returns the block that closes a run, wrapped to `width` characters."""
    best, final = finish.best, finish.final
    again = "the same command with --resume auto continues it" if finish.status == INTERRUPTED else ""
    return block(f"{finish.status} in {duration(finish.seconds)}", [
        ("best", best and f"epoch {best['epoch']}: {scores(best)}"),
        ("final", final and f"epoch {final['epoch']}: {scores(final)}"),
        ("early", early(run, finish)),
        ("speed", speed(finish)),
        ("folder", str(run.folder)),
        ("resume", again),
    ], width)
