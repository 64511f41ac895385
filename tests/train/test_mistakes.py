"""The gallery of the worst mistakes: whose images they are, in which order, and what nothing costs."""

import numpy as np
import pytest
import torch

from fasttrain import RunConfig, predict, run
from fasttrain.data.pack import open_splits
from fasttrain.runtime import resolve
from fasttrain.train.mistakes import find_mistakes

CONFIG = RunConfig(data="synthetic:classes=5,train=4,val=8,size=32", image_size=32, epochs=1, batch_size=4,
                   precision="fp32", loader="resident")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(CONFIG.replace(out=str(tmp_path_factory.mktemp("run") / "1")))


def test_they_are_those_that_predict_is_surest_about(trained, tmp_path):
    from PIL import Image

    _, val = open_splits(trained.config)
    paths = [tmp_path / f"{i}.png" for i in range(len(val))]
    for path, row in zip(paths, val.rows, strict=True):
        Image.fromarray(np.asarray(val.pixels[row])).save(path)
    said = [one["top"][0] for one in predict(trained.folder, paths, top=1)]
    wrong = [i for i, one in enumerate(said) if one["class"] != val.classes[val.labels[i]]]
    wrong.sort(key=lambda i: -said[i]["probability"])
    found = find_mistakes(trained.folder, val, trained.predictions["predicted"], resolve(trained.config))
    assert len(wrong) > 3 and (trained.folder / "mistakes.png").exists()
    assert found.sureness == pytest.approx([said[i]["probability"] for i in wrong], abs=1e-5)
    assert found.labels.tolist() == val.labels[wrong].tolist()
    assert [val.classes[k] for k in found.predicted] == [said[i]["class"] for i in wrong]
    assert (found.images == val.pixels[val.rows[wrong]]).all()


def test_a_run_without_a_mistake_has_no_gallery(trained):
    _, val = open_splits(trained.config)
    assert find_mistakes(trained.folder, val, val.labels, resolve(trained.config)) is None


def test_weights_that_do_not_load_cost_a_run_its_gallery_only(tmp_path, monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("fasttrain.runs.lifecycle.find_mistakes", fail)
    done = run(CONFIG.replace(out=str(tmp_path / "1")))
    assert done.status == "done" and (done.folder / "card.md").exists()
    assert not (done.folder / "mistakes.png").exists()
