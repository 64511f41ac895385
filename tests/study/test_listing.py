"""`fasttrain runs`: what is listed, in which order, and what is refused."""

import json

import pytest

from fasttrain.cli.main import main
from tests.study.fabricate import make_row, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs of two learning rates, one of them cut off, and a folder that holds none."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "slow", "origin", final=40, lr=0.1)
    make_run(root / "fast", "origin", final=60, lr=0.2, augment={"flip": "random"})
    make_run(root / "cut", "origin", lr=0.2, rows=[make_row(1, 50.0)])
    (make_run(root / "damaged", "origin") / "env.json").write_text("{")
    return root


def names(folder, tmp_path, *words):
    """The names of the runs that a command lists, in order."""
    assert main(["runs", str(folder), *words, "--json", str(tmp_path / "found.json")]) == 0
    return [entry["folder"].rpartition("/")[2] for entry in json.loads((tmp_path / "found.json").read_text())]


@pytest.mark.parametrize("words, expected", [
    ([], ["cut", "fast", "slow"]),
    (["--sort", "val_top1"], ["slow", "cut", "fast"]),
    (["--sort", "val_top1", "--reverse"], ["fast", "cut", "slow"]),
    (["--where", "status=done"], ["fast", "slow"]),
    (["--where", "status!=done"], ["cut"]),
    (["--where", "lr=2e-1", "--where", "val_top1>55"], ["fast"]),
    (["--where", "epoch<=1"], ["cut"]),
    (["--where", "augment.flip=RAND*"], ["fast"]),
    (["--where", "folder=*/slow"], ["slow"]),
    (["--where", "drop_last=true"], ["cut", "fast", "slow"]),
    (["--where", "arch>3"], []),
])
def test_runs_are_filtered_and_sorted(folder, tmp_path, words, expected):
    assert names(folder, tmp_path, *words) == expected


def test_the_table_says_what_differs_and_what_is_left_out(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["runs", str(folder)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[1].split() == [str(folder / "cut"), "interrupted", "0", "1/5", "50.00", "50.00", "2.0s", "lr=0.2",
                                "flip=alternating"]
    assert lines[-1] == "3 of 3 runs"
    assert err.startswith("left out: ") and "damaged" in err


@pytest.mark.parametrize("words, code, says", [
    (["--where", "val_top"], 2, "needs the form KEY=VALUE"),
    (["--where", "val_top=3"], 2, "did you mean 'val_top1'"),
    (["--sort", "accuracy"], 2, "unknown key 'accuracy'"),
    (["--json", "/nowhere/x.json"], 2, "/nowhere/x.json"),
])
def test_bad_flags_are_one_line(folder, capsys, words, code, says):
    assert main(["runs", str(folder), *words]) == code
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) == 1


def test_a_folder_without_runs_is_one_line(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 3
    assert capsys.readouterr().err == f"fasttrain: error: no run to list: {tmp_path}: holds no run folder\n"
