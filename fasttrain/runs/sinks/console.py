"""The run in words: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time

from fasttrain import format
from fasttrain.runs.sinks import wording
from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Epoch, Finish, Progress, Sink, Start
from fasttrain.train.rows import best_row

REDRAW_SECONDS = 0.1
NARROWEST = 40  # columns that lines are wrapped to at least


def console_sink(stream=None):
    """The sink for standard output: live where that is a terminal, plain where it is piped or in CI."""
    stream = stream or sys.stdout
    live = stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
    return LiveSink(stream) if live else TextSink(stream, warnings=sys.stderr)


class TextSink(Sink):
    """Writes lines without control codes to a text stream: how the run starts, its forecast, its epochs, its end."""

    def __init__(self, stream, warnings=None):
        self.stream = stream
        self.warnings = warnings or stream
        self.forecast = self.header = self.legend = False
        self.width = wording.WIDTH

    def write(self, lines, style=None):
        """Puts lines on the stream at once; `style` is for sinks that have colours."""
        self.stream.write("".join(line + "\n" for line in lines))
        self.stream.flush()

    def start(self, start: Start) -> None:
        self.run = start
        self.pace = Pace(start.val_images, start.config.train_sizes)
        self.write(wording.start_lines(start, self.width))

    def progress(self, progress: Progress) -> None:
        self.pace.update(progress)
        if self.pace.step_seconds is not None:
            self._estimate()

    def epoch(self, epoch: Epoch) -> None:
        best = best_row(epoch.rows) is epoch.row
        if not self.header:
            self.header = True
            self.write(wording.table_header(starred=best), style="bold")
        elif best and not self.legend:
            self.write([wording.LEGEND], style="bold")
        self.legend = self.legend or best
        self.pace.end_epoch()
        self.write([wording.table_row(epoch.row, self.run.config.epochs, best)], style="green" if best else None)
        if self.pace.known():
            self._estimate()

    def message(self, text: str, level: str = "info") -> None:
        line = " ".join(text.split())
        if level == "info":
            self.write([line])
        else:
            print(f"{level}: {line}", file=self.warnings, flush=True)

    def finish(self, finish: Finish) -> None:
        self.write(wording.finish_lines(self.run, finish, self.width))

    def _estimate(self):
        if not self.forecast:
            self.forecast = True
            self.write([wording.estimate_line(self.pace)])


class LiveSink(TextSink):
    """The same lines on a terminal, in colours, with a bar below them that moves."""

    def __init__(self, stream):
        from rich.console import Console

        super().__init__(stream, warnings=sys.stderr)
        self.forecast = True  # the bar shows it all the time
        self.console = Console(file=stream, highlight=False)
        self.width = max(NARROWEST, self.console.width)
        self.live = None
        self.drawn_at = 0.0

    def write(self, lines, style=None):
        from rich.text import Text

        self.console.print(Text("\n".join(lines), style=style or ""), soft_wrap=True)

    def start(self, start: Start) -> None:
        from rich.live import Live
        from rich.text import Text

        super().start(start)
        waiting = "first step" if start.compile == "off" else "first step (compiling takes a while)"
        # Without a thread of its own the display costs nothing but the redraws below. Where both streams are the
        # terminal, what others print on stderr has to go above the bar too.
        self.live = Live(Text(waiting, style="dim"), console=self.console, auto_refresh=False, transient=True,
                         redirect_stderr=sys.stderr.isatty())
        self.live.start(refresh=True)

    def progress(self, progress: Progress) -> None:
        self.pace.update(progress)
        now = time.perf_counter()
        if now - self.drawn_at >= REDRAW_SECONDS and self.live:
            self.drawn_at = now
            self.live.update(progress_bar(self.pace, self.console.width, self.console.encoding), refresh=True)

    def message(self, text: str, level: str = "info") -> None:
        self.warnings = sys.stderr  # the live display wraps it while it runs
        super().message(text, level)

    def finish(self, finish: Finish) -> None:
        self._stop()
        super().finish(finish)

    def close(self):
        self._stop()

    def _stop(self):
        if self.live:
            self.live.stop()
            self.live = None


def progress_bar(pace, width, encoding="utf-8"):
    """One line of at most `width` cells (rich Text): place, bar, speed, data wait, time left of epoch and run."""
    from rich.text import Text

    p = pace.last
    place = f"epoch {p.epoch}/{p.epochs} {p.phase:<5} {p.step}/{p.steps} "
    left = f"{format.duration(pace.epoch_left())}, run {format.duration(pace.run_left())}" if pace.known() else "-"
    rest = f" {pace.images_per_second():,.0f} img/s  wait {pace.data_wait():.1%}  left {left}"
    cells = min(40, width - len(place) - len(rest) - 1)
    line = Text(place)
    if cells >= 4:
        full = round(cells * p.step / p.steps)
        block, track = "━━" if "utf" in encoding.lower() else "=-"
        line.append(block * full, style="cyan")
        line.append(track * (cells - full), style="grey37")
    line.append(rest)
    line.truncate(width - 1, overflow="ellipsis")
    return line
