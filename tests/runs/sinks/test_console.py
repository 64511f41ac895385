import io
import re
import sys

import pytest

from fasttrain import format
from fasttrain.runs.sinks import wording
from fasttrain.runs.sinks.console import LiveSink, TextSink, console_sink, progress_bar
from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def plain_environment(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_plain_output_has_no_control_codes_and_a_line_for_each_epoch(fabricated, tmp_path):
    stream = io.StringIO()
    fabricated.play([TextSink(stream)], fabricated.start(tmp_path, epochs=3))
    lines, head = stream.getvalue().splitlines(), wording.table_header()[0]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", stream.getvalue())
    assert max(map(len, lines)) <= 80
    assert lines[0] == "resnet18_maxpool, 11,179,077 parameters"
    assert [n for n, line in enumerate(lines) if line.startswith("estimate: ")] == [lines.index(head) - 1]
    table = [line.split() for line in lines if re.match(r" +\d/3 ", line)]
    assert [row[0] for row in table] == ["1/3", "2/3", "3/3"]
    assert table[0][1:] == ["0.1", "3.000", "10.00", "3.500", "9.00", "14.00", "8.50", "1234", "0.3%", "12.3s*"]
    assert any(line.strip() == "best     epoch 3: top-1 27.00 %, top-5 42.00 %, F1 25.50 %, loss 1.167"
               for line in lines)


def test_on_a_wide_terminal_the_header_uses_its_width(fabricated, tmp_path, plain_environment, monkeypatch):
    folder, lines = tmp_path / ("f" * 60), {}
    for columns in (60, 160):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        fabricated.play([LiveSink(terminal)], fabricated.start(folder, epochs=1))
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "")
        lines[columns] = [line for line in shown.splitlines() if line.startswith("  recipe ")]
    assert all(len(line) < 60 for line in lines[60])
    assert all(80 < len(line) < 160 and line.endswith("label smoothing 0.1") for line in lines[160])


@pytest.mark.parametrize("rows, steps, says", [(1, 9, "after epoch 1 + 9 steps of 3 epochs"), (0, 1, "0 + 1 step of"),
                                               (2, 0, "after epoch 2 of 3 epochs"), (0, 0, None)])
def test_a_resumed_run_says_where_it_goes_on(rows, steps, says, fabricated, tmp_path):
    start = fabricated.start(tmp_path, epochs=3, resumed_from=rows, step_in_epoch=steps)
    told = [line for line in wording.start_lines(start) if line.startswith("  resumed")]
    assert len(told) == (says is not None) and all(says in line for line in told)


def test_one_is_no_plural(fabricated, tmp_path):
    assert [format.count(n, noun) for n, noun in ((1, "epoch"), (0, "epoch"), (1, "class"), (2000, "class"))] == [
        "1 epoch", "0 epochs", "1 class", "2,000 classes"]
    assert not re.search(r"\b1 epochs", "\n".join(wording.start_lines(fabricated.start(tmp_path, epochs=1))))


def test_the_legend_of_the_star_comes_once_and_before_the_first(fabricated, tmp_path):
    for late in (False, True):
        stream = io.StringIO()
        fabricated.play([TextSink(stream)], fabricated.start(tmp_path, epochs=4, resumed_from=1),
                        row=lambda epoch, late=late: fabricated.row(epoch) | (
                            {"val_top1": 1.0} if late and epoch == 2 else {}))
        starred = [line for line in stream.getvalue().splitlines() if "*" in line]
        assert starred[0].endswith(wording.LEGEND) and all(line.endswith("s*") for line in starred[1:])
        assert len(starred) == 4 - late


@pytest.mark.parametrize("loss", [0.0001, 5.2983, 99.9999, 65259.77, 3.4e38])
def test_the_columns_stand_under_their_heads_whatever_the_loss(loss, fabricated):
    values = fabricated.row(1) | {"train_loss": loss, "val_loss": loss, "lr": 1.234e-5, "images_per_second": 312_345.6}
    head, row = wording.table_header()[1], wording.table_row(values, 30, best=False)
    ends = [match.end() for match in re.finditer(r"\S+", head)]
    assert [match.end() for match in re.finditer(r"\S+", row)] == ends


def test_nan_and_a_run_without_an_epoch_are_shown_as_dashes(fabricated, tmp_path):
    row = {key: value if key == "epoch" else fabricated.nan for key, value in fabricated.row(1).items()}
    assert wording.table_row(row, 3, best=False).split() == ["1/3"] + 10 * ["-"]
    lines = wording.finish_lines(fabricated.start(tmp_path, 3), fabricated.early_finish("failed"))
    assert lines[0] == "failed in 0.50s" and not any("epoch" in line for line in lines)


def test_a_resumed_run_still_knows_the_best_epoch_from_before(fabricated, tmp_path):
    earlier, stream = [fabricated.row(1) | {"val_top1": 99.0}], io.StringIO()
    fabricated.play([TextSink(stream)], fabricated.start(tmp_path, epochs=3, rows=earlier))
    assert "resumed  after epoch 1 of 3" in stream.getvalue()
    assert "best     epoch 1: top-1 99.00 %" in stream.getvalue()
    assert "*" not in stream.getvalue()


def test_a_warning_is_one_line_on_stderr(capsys, plain_environment):
    sink = console_sink()
    sink.message("the loader\nis slow", "warning")
    sink.message("a word")
    assert capsys.readouterr() == ("a word\n", "warning: the loader is slow\n")


@pytest.mark.parametrize("name, value", [("CI", "true"), ("TERM", "dumb")])
def test_a_terminal_in_ci_or_without_codes_gets_plain_lines(name, value, monkeypatch, plain_environment):
    assert isinstance(console_sink(Terminal()), LiveSink)
    monkeypatch.setenv(name, value)
    assert type(console_sink(Terminal())) is TextSink


def test_an_epoch_of_few_steps_is_forecast_when_it_is_over(fabricated, tmp_path):
    stream = io.StringIO()
    sink = TextSink(stream)
    sink.start(fabricated.start(tmp_path, epochs=3))
    for step in (1, 2):
        sink.progress(Progress("train", 1, 3, step, 2, step * 32, step * 0.1, 0.0))
    sink.progress(Progress("val", 1, 3, 1, 1, 100, 0.1, 0.0))
    assert "estimate" not in stream.getvalue()
    sink.epoch(fabricated.epoch(fabricated.row(1)))
    assert re.fullmatch(r"estimate: \S+ an epoch, \S+ to go", stream.getvalue().splitlines()[-1])


def test_the_live_display_draws_above_its_bar_and_gives_the_terminal_back(fabricated, tmp_path, plain_environment):
    terminal, stdout, stderr = Terminal(), sys.stdout, sys.stderr
    fabricated.play([LiveSink(terminal)], fabricated.start(tmp_path, epochs=2), finish=False)
    shown = terminal.getvalue()
    assert "epoch 1/2 train" in shown and "estimate" not in shown and "2/2" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is visible again
    assert (sys.stdout, sys.stderr) == (stdout, stderr)


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_the_bar_fits_its_terminal(width):
    pace = Pace(10_000)
    for step in range(1, 131):
        pace.update(Progress("train", 12, 300, step, 195, step * 128, step * 0.01, step * 0.0001))
    bar = progress_bar(pace, width)
    assert bar.cell_len < width and bar.plain.startswith("epoch 12/300")
    if width >= 80:
        assert "12,800 img/s  wait 1.0%  left 0.91s, run " in bar.plain


@pytest.mark.parametrize("seconds, shown", [
    (0.314, "0.31s"), (12.34, "12.3s"), (59.96, "1m00s"), (125, "2m05s"), (3599.6, "1h00m"), (3725, "1h02m"),
    (86400 * 3 + 4 * 3600, "3d04h"), (None, "-"), (float("nan"), "-"),
])
def test_durations(seconds, shown):
    assert format.duration(seconds) == shown
