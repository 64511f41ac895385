"""Two profiles of one network: what changed, and which cannot be compared."""

import json

import pytest

from fasttrain.cli.main import main
from fasttrain.errors import ConfigError
from fasttrain.perf import against
from fasttrain.perf.profile import Profile


def make(step_ms, phases, operators, **details):
    result = {"step_ms": step_ms, "phases_ms": phases, "causes": []}
    rows = [{"name": name, "ms": ms, "share": 0.1, "calls": 1} for name, ms in operators.items()]
    network = {"variant": "resnet18_origin", "image_size": 64, "classes": 10}
    return Profile(result, {**network, "operators": rows, **details})


def write(profile, folder):
    folder.mkdir()
    for name, values in (("profile", profile.result), ("details", profile.details)):
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def test_the_largest_change_comes_first_and_small_ones_not_at_all():
    before = make(100.0, {"forward": 30.0, "backward": 60.0, "optimizer": 10.0}, {"mm": 50.0, "add": 5.0})
    now = make(140.0, {"forward": 35.0, "backward": 95.0, "optimizer": 10.1}, {"mm": 20.0, "copy": 60.0, "add": 5.1})
    found = against.changes(before, now)
    phases = [(change.name, change.added) for change in found["phases"]]
    assert phases == [("step as it trains", 40.0), ("backward", 35.0), ("forward", 5.0)]
    assert [(c.name, c.added) for c in found["operators"]] == [("copy", 60.0), ("mm", -30.0)]


def test_settings_and_causes_that_differ_are_told():
    before = make(1.0, {}, {}, precision="bf16", batch_size=8)
    now = make(1.0, {}, {}, precision="fp32", batch_size=8)
    before.result["causes"] = [{"label": "slow precision", "value": "0%", "found": False},
                               {"label": "waits", "value": "1%", "found": False}]
    now.result["causes"] = [{"label": "slow precision", "value": "100%", "found": True},
                            {"label": "waits", "value": "2%", "found": False}]
    assert against.settings(before, now) == [("precision", "bf16", "fp32"), ("slow precision", "0%", "100%")]


def test_a_profile_is_read_back_and_another_network_is_refused(tmp_path):
    profile = make(1.0, {"forward": 1.0}, {"mm": 1.0})
    assert against.read(write(profile, tmp_path / "one")) == profile
    network = {"variant": "resnet18_origin", "image_size": 64, "classes": 10}
    against.refuse_other(profile, "one", **network)
    for key, value in (("variant", "resnet50_origin"), ("image_size", 32), ("classes", 200)):
        with pytest.raises(ConfigError, match="--against one: a profile of .* only profiles of one network"):
            against.refuse_other(profile, "one", **{**network, key: value})


@pytest.mark.parametrize("damage", ["missing", "no json", "other json"])
def test_what_is_no_profile_is_one_line(damage, tmp_path):
    folder = write(make(1.0, {}, {}), tmp_path / "one")
    if damage == "missing":
        (folder / "details.json").unlink()
    else:
        (folder / "profile.json").write_text("{" if damage == "no json" else "[1]")
    with pytest.raises(ConfigError, match="--against") as caught:
        against.read(folder)
    assert "\n" not in str(caught.value)


def test_profile_refuses_a_profile_of_another_network_before_it_measures(tmp_path, capsys):
    other = write(make(1.0, {}, {}, variant="resnet50_origin"), tmp_path / "other")
    code = main(["profile", "-a", "resnet18", "--data", "synthetic:classes=10,train=20,val=10", "--against", str(other),
                 "--batch-size", "10", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and "resnet50_origin, not resnet18_origin" in error
    assert not (tmp_path / "out").exists()
