"""Shell completion: what a Tab in bash offers, and scripts that the other shells can read."""

import shutil
import subprocess

import pytest

from fasttrain.cli.completion import SHELLS, script
from fasttrain.cli.main import build_parser, main
from fasttrain.registry import variants

PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shtab_fasttrain 2>/dev/null  # compopt complains outside of a real completion
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(script(build_parser(), shell))
    return folder


@pytest.mark.parametrize("line, offered", [
    ("ru", {"run", "runs"}),
    ("run --he", {"--head", "--help"}),
    ("run --arch ", {"resnet18", "resnet50", *variants()}),
    ("run -a resnet18_m", {"resnet18_maxpool"}),
    ("bench loader --loaders j", {"jpeg"}),
    ("run --arch resnet50 --head ", {"origin", "maxpool", "dropout", "own"}),
    ("run --recipe ", {"fast", "original", "sprint"}),
    ("ablate --recipe ", {"fast", "original", "sprint"}),
    ("run --loader j", {"jpeg"}),
    ("run --set augment.f", {"augment.flip="}),
    ("run --data ", {"my photos", "set.zip", "synthetic"}),
    ("run --resume ", {"my photos", "set.zip", "auto", "never"}),
    ("run --epochs ", {""}),
    ("data preview --split ", {"train", "val"}),
    ("data synth ", {"my photos", "set.zip"}),
    ("export run --to ", {"safetensors", "torch-export", "onnx"}),
    ("record h", {"half"}),
    ("completion ", set(SHELLS)),
])
def test_tab_in_bash(scripts, tmp_path, line, offered):
    (tmp_path / "my photos").mkdir()
    (tmp_path / "set.zip").touch()
    done = subprocess.run(["bash", "-c", PRESS_TAB, "bash", scripts / "bash", "fasttrain", *line.split(" ")],
                          cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(done.stdout.removesuffix("\n").split("\n")) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_can_read_its_script(scripts, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", scripts / shell], check=True, capture_output=True)


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "did you mean 'bash'" in capsys.readouterr().err
