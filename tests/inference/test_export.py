"""Exports: other programs get the network that the checkpoint holds, or no file at all."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from fasttrain import export
from fasttrain.cli.main import main
from fasttrain.data.pack import open_splits
from fasttrain.errors import DataError
from fasttrain.inference import export as module
from fasttrain.models import build_model
from fasttrain.train.trained import load_trained

CHECK = """
import sys, torch
torch.set_num_threads(1)
program = torch.export.load(sys.argv[1]).module()
images = torch.load(sys.argv[2])
print(*[program(images[:n]).shape[0] for n in (1, 2, 7)])
torch.save(program(images), sys.argv[3])
assert "fasttrain" not in sys.modules
"""


@pytest.fixture(scope="module")
def pixels(finished):
    _, val = open_splits(finished.config)
    return torch.from_numpy(np.asarray(val.pixels[val.rows]))


@pytest.fixture(scope="module")
def logits(finished, pixels):
    """What the checkpoint's network says, with a normalisation written by hand."""
    trained = load_trained(finished.folder)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (trained.mean, trained.std))
    with torch.inference_mode():
        return trained.build()((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)


def test_safetensors_hold_the_weights_and_what_it_takes_to_use_them(finished, pixels, logits, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    done = export(finished.folder, tmp_path / "net.safetensors")
    assert done["max_difference"] == 0 and done["bytes"] == (tmp_path / "net.safetensors").stat().st_size
    with safetensors.safe_open(tmp_path / "net.safetensors", "pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    classes = json.loads(facts["classes"])
    assert (facts["arch"], facts["head"], len(classes), facts["image_size"]) == ("resnet18", "dropout", 3, "32")
    assert json.loads(facts["metrics"])["val_top1"] == finished.best["val_top1"]
    model = build_model(facts["arch"], facts["head"], len(classes)).eval()
    model.load_state_dict(weights)
    mean, std = (torch.tensor(json.loads(facts[key])).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        torch.testing.assert_close(model((pixels.permute(0, 3, 1, 2) / 255 - mean) / std), logits)


def test_a_torch_export_runs_without_fasttrain_on_any_number_of_images(finished, pixels, logits, tmp_path):
    done = export(finished.folder, tmp_path / "net.pt2", to="torch-export")
    assert done["max_difference"] <= 1e-4 * done["largest_logit"]
    torch.save(pixels, tmp_path / "pixels.pt")
    words = [sys.executable, "-c", CHECK, *(str(tmp_path / name) for name in ("net.pt2", "pixels.pt", "logits.pt"))]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.split() == ["1", "2", "7"], ran.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits, rtol=1e-3, atol=1e-4)


def test_an_onnx_model_gives_the_same_logits_for_any_number_of_images(finished, pixels, logits, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = export(finished.folder, tmp_path / "net.onnx", to="onnx")
    assert done["max_difference"] <= 1e-4 * done["largest_logit"]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for count in (1, len(pixels)):
        found, = session.run(None, {"images": pixels[:count].numpy()})
        np.testing.assert_allclose(found, logits[:count].numpy(), rtol=1e-3, atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["arch"] == "resnet18" and len(json.loads(facts["classes"])) == 3


def test_an_export_that_computes_something_else_is_not_written(finished, tmp_path, monkeypatch):
    encode, decode = module.CODECS["safetensors"]

    def damaged(data):
        classifier = decode(data)
        with torch.no_grad():
            classifier.model.conv1.weight[0] += 0.5
        return classifier

    monkeypatch.setitem(module.CODECS, "safetensors", (encode, damaged))
    (tmp_path / "net").write_text("what was there")
    with pytest.raises(DataError, match="not written: the exported network's logits differ by"):
        export(finished.folder, tmp_path / "net")
    monkeypatch.setitem(module.CODECS, "safetensors", (encode, lambda data: lambda images: torch.full((8, 3), np.nan)))
    with pytest.raises(DataError, match="differ by nan"):
        export(finished.folder, tmp_path / "net")
    assert (tmp_path / "net").read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_missing_library_names_the_extra(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert main(["export", str(finished.folder), "--out", str(tmp_path / "x")]) == 2
    err = capsys.readouterr().err
    assert "-m pip install safetensors" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words, says", [
    (["--to", "tflite", "--out", "x"], "known: safetensors, torch-export, onnx"),
    (["--to", "safetensor", "--out", "x"], "did you mean 'safetensors'"),
    (["--out", "/nowhere/x"], "/nowhere/x"), (["--out", "."], "cannot be written"), ([], "--out"),
])
def test_bad_flags(capsys, words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "run", *words]) == 2
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) == 1


def test_the_command_reports_the_comparison(finished, tmp_path, capsys):
    assert main(["export", str(finished.folder), "--out", str(tmp_path / "net.safetensors")]) == 0
    assert "its logits differ by at most 0 from" in capsys.readouterr().out
