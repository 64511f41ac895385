"""The command line from outside: exit codes, one line on stderr, nothing half-written."""

import json
import os
import signal
import subprocess
import sys

import pytest

from fasttrain.cli.main import build_parser, main
from fasttrain.errors import Interrupted


def call(capsys, *words):
    """Runs a command in this process: (exit code, stdout, stderr)."""
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


def assert_refused(result, code, *says):
    got, out, err = result
    assert got == code, err
    assert len(err.strip().splitlines()) == 1, err
    for text in says:
        assert text in err


@pytest.mark.parametrize("words, says", [
    (["run", "--epoch", "3"], "did you mean --epochs"),
    (["run", "--lr", "nan"], "lr: 'nan'"),
    (["run", "--epochs", "-3"], "epochs: '-3'"),
    (["run", "--classes", "0"], "classes: '0'"),
    (["run", "--batch", "32"], "did you mean --batch-size?"),
    (["run", "--batch=32"], "did you mean --batch-size?"),
    (["run", "--limt-train", "32"], "did you mean --limit-train?"),
    (["run", "--arch", "resnet19"], "resnet18"),
    (["run", "--arch", "resnet34"], "known: resnet18, resnet50"),
    (["run", "--head", "avgpool"], "known: origin, maxpool, dropout"),
    (["run", "--set", "flip=random"], "did you mean 'augment.flip'?"),
    (["run", "--set", "weight_decay=1"], "did you mean 'optimizer.weight_decay'?"),
    (["run", "--resume", "nope"], "--resume nope: there is no such folder"),
    (["run", "--resume", "/"], "--resume /: holds no run"),
    (["run", "--threads", "0"], "threads: '0'"),
    (["run", "--set", "augment.flp=1"], "augment.flip"),
    (["run", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
    (["run", "--set", "lr=2020-99-99"], "not YAML"),
    (["run", "--set", "lr=!!timestamp x"], "not YAML"),
    (["run", "--set", "lr=" + 3000 * "["], "not YAML"),
    (["run", "--seed", "4294967296"], "at most 4294967295"),
    (["run", "--compile", "fastest"], "compile"),
    (["run", "--precision", "fp8"], "precision"),
    (["run", "extra"], "extra"),
    (["rnu"], "run"),
    (["summary", "--head", "nohead"], "nohead"),
    (["summary", "--image-size", "3"], "image_size"),
])
def test_bad_arguments(capsys, words, says):
    assert_refused(call(capsys, *words), 2, says)


COMMANDS = {"run", "ablate", "record", "report", "runs", "eval", "predict", "export", "bench loader", "bench step",
            "bench e2e", "bench scale", "profile", "summary", "data fetch", "data pack", "data verify", "data info",
            "data preview", "data synth", "env", "completion"}


def commands(parser, path=()):
    """The parser of each command and sub-command, by its words."""
    groups = [action for action in parser._actions if isinstance(action.choices, dict)]
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, (*path, name))
    if path and not groups:
        yield " ".join(path), parser


PARSERS = dict(commands(build_parser()))


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as done:
        main([*words, "--help"])
    assert done.value.code == 0
    return capsys.readouterr().out


def test_the_commands():
    assert PARSERS.keys() == COMMANDS


def test_help_names_every_command_and_group(capsys):
    for group in ("", "bench", "data"):
        out = help_of(capsys, *filter(None, [group]))
        listed = {line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4] != " "}
        assert listed == {name.removeprefix(group).split()[0] for name in COMMANDS if name.startswith(group)}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_explains_every_flag(capsys, name):
    out = help_of(capsys, *name.split())
    for action in PARSERS[name]._actions:
        assert action.help and all(flag in out for flag in action.option_strings), action


def test_help_and_a_bad_flag_import_nothing_heavy():
    code = ("import sys; from fasttrain.cli.main import main\n"
            "try: code = main(sys.argv[1:])\n"
            "except SystemExit as done: code = done.code\n"
            "sys.exit(code + 100 * bool({'torch', 'numpy', 'numba', 'rich'} & set(sys.modules)))")
    for words, expected in ((["--help"], 0), (["run", "--help"], 0), (["run", "--epoch", "3"], 2),
                            (["run", "--set", "optimizer.name=adamw"], 2), (["ablate", "--heads", "x"], 2)):
        assert subprocess.run([sys.executable, "-c", code, *words], capture_output=True).returncode == expected, words


@pytest.mark.parametrize("source, says", [("raise OSError('libfoo.so is gone')", "libfoo.so is gone"),
                                          ("import nowhere_at_all", "nowhere_at_all is missing")])
def test_a_broken_package_is_one_line(source, says, tmp_path):
    (tmp_path / "torch.py").write_text(source)
    done = subprocess.run([sys.executable, "-m", "fasttrain", "run", "--data", "synthetic"], text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert says in done.stderr and "fasttrain env" in done.stderr


def test_a_run_that_was_asked_to_stop_is_no_error(capsys, monkeypatch):
    def stopped(arguments):
        raise Interrupted("SIGINT: saved after epoch 1 + 9 steps", signal.SIGINT)

    monkeypatch.setattr("fasttrain.cli.run.run", stopped)
    result = call(capsys, "run")
    assert_refused(result, 130, "saved after epoch 1 + 9 steps")
    assert "error" not in result[2]


@pytest.mark.parametrize("command", ["bench loader", "run"])
def test_loaders_are_called_alike_everywhere(command):
    assert "--loader" in PARSERS[command]._option_string_actions


@pytest.mark.parametrize("flags", [["--data", "x" * 300], ["--data", "synthetic", "--out", "x" * 300],
                                   ["--data", "~nosuchuser/x"]])
def test_a_path_that_cannot_be_is_one_line(capsys, flags):
    assert_refused(call(capsys, "run", *flags), 3, "x")


def test_print_config_can_be_fed_back(capsys, tmp_path):
    code, out, _ = call(capsys, "run", "-a", "resnet50_maxpool", "--epochs", "4", "--print-config")
    assert code == 0
    (tmp_path / "c.yaml").write_text(out)
    assert call(capsys, "run", "--config", tmp_path / "c.yaml", "--print-config")[1] == out


def test_summary_prints_its_table_and_nothing_else(capsys):
    out = call(capsys, "summary")[1]
    assert "11,279,112" in out and "None" not in out


def test_summary_json(capsys, tmp_path):
    code, out, _ = call(capsys, "summary", "-a", "resnet18", "--json", tmp_path / "s.json")
    assert code == 0 and "11,279,112" in out
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["totals"]["params"] == 11_279_112
    assert set(written["rows"][0]) >= {"name", "input_shape", "output_shape", "params", "memory_mb", "madd", "flops",
                                       "mem_read", "mem_write", "mem_rw"}
    assert_refused(call(capsys, "summary", "--json", tmp_path / "no" / "s.json"), 2, "s.json")
