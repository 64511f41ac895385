"""Plans of image sizes: what they say, what is refused, how shares become epochs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttrain import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.sizes import epoch_sizes, left_out


def test_counts_set_the_epochs():
    config = RunConfig(sizes="32x5, 48x2,64x1")
    assert (config.sizes, config.epochs) == ("32x5,48x2,64x1", 8)
    assert config.train_sizes == (32, 32, 32, 32, 32, 48, 48, 64)
    assert RunConfig(**config.to_dict()) == config and config.replace(seed=1).epochs == 8


def test_off_is_the_default_and_keeps_the_full_size():
    assert RunConfig(epochs=2).train_sizes == (64, 64)
    assert RunConfig.load(sets=["sizes=off"]) == RunConfig()


def test_sizes_are_text_before_they_are_yaml(tmp_path):
    assert RunConfig.load(sets=["sizes=64:1.0"]).train_sizes == (64,) * 30
    file = tmp_path / "plan.yaml"
    file.write_text("sizes: 64:1.0\n")  # 3841 in YAML
    with pytest.raises(ConfigError, match="in quotes"):
        RunConfig.load(files=[file])
    file.write_text("sizes: '64:1.0'\n")
    assert RunConfig.load(files=[file]).sizes == "64:1.0"


def test_the_command_repeats_a_plan():
    assert "sizes=32x1,64x1" in RunConfig(sizes="32x1,64x1").command()
    assert "--epochs 9" in RunConfig(sizes="32:0.5,64:0.5", epochs=9).command()


@pytest.mark.parametrize(("epochs", "expected"), [
    (20, (32,) * 12 + (48,) * 5 + (64,) * 3),
    (10, (32,) * 6 + (48,) * 3 + (64,)),  # 6, 2.5, 1.5: the first of equal remainders gets the epoch
    (3, (32, 32, 48)),  # 1.8, .75, .45
    (1, (32,)),
])
def test_shares_become_whole_epochs_by_the_largest_remainder(epochs, expected):
    plan = "32:0.6,48:0.25,64:0.15"
    assert epoch_sizes(plan, epochs, 64) == expected
    assert left_out(plan, epochs) == [size for size in (32, 48, 64) if size not in expected]


@given(st.dictionaries(st.integers(32, 64), st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 50))
def test_each_share_gets_its_epochs_rounded_up_or_down_and_in_order(weights, epochs):
    shares = {size: weight / sum(weights.values()) for size, weight in weights.items()}
    sizes = epoch_sizes(",".join(f"{size}:{share:.9f}" for size, share in shares.items()), epochs, 64)
    assert len(sizes) == epochs and list(sizes) == sorted(sizes, key=list(weights).index)
    assert all(abs(sizes.count(size) - share * epochs) < 1 for size, share in shares.items())


@pytest.mark.parametrize(("changes", "says"), [
    ({"sizes": "3.5x2"}, "not of the form"), ({"sizes": "32x"}, "not of the form"), ({"sizes": ""}, "not of the form"),
    ({"sizes": "32x1,64:0.5"}, "not of the form"), ({"sizes": "32x1;64x1"}, "not of the form"),
    ({"sizes": True}, "not of the form"), ({"sizes": "-32x1"}, "not of the form"),
    ({"sizes": "31x1"}, "31 px is too small"), ({"sizes": "65x1"}, "65 px is larger than the images"),
    ({"sizes": "32x0"}, "gets no epochs"), ({"sizes": "32:0,64:1"}, "gets no epochs"),
    ({"sizes": "32:0.5,64:0.4"}, "add up to 0.9"), ({"sizes": "32x2", "epochs": 3}, "epochs: 3 is not the 2"),
    ({"sizes": "32x2", "epochs": 3.0}, "epochs: 3 is not the 2"),
    ({"sizes": "32x100001"}, "epochs"), ({"sizes": "64x1", "image_size": 32}, "larger than the images"),
])
def test_bad_plans_are_one_line(changes, says):
    with pytest.raises(ConfigError, match=says) as error:
        RunConfig(**changes)
    assert "\n" not in str(error.value)
