"""Configs: precedence, suggestions, limits, and the round trip through a command line and YAML."""

import shlex
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttrain import RunConfig
from fasttrain.cli.flags import read_config
from fasttrain.cli.main import build_parser
from fasttrain.config import auto_batch_size, fit_to_data, known_keys
from fasttrain.errors import ConfigError
from fasttrain.recipe import recipe_names


def test_precedence_recipe_file_flag_set(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("recipe: original\nepochs: 7\nlr: 0.5\naugment: {flip: random}\n")
    config = RunConfig.load([file], {"lr": "0.25"}, ["augment.crop_padding=2", "lr=0.125"])
    assert (config.recipe, config.epochs, config.lr) == ("original", 7, 0.125)
    assert (config.augment.flip, config.augment.crop_padding) == ("random", 2)
    assert config.batch_size == 256 and config.optimizer.weight_decay == 1e-4


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_is_complete_and_survives_yaml(recipe):
    config = RunConfig(recipe=recipe)
    again = RunConfig(**yaml.safe_load(yaml.safe_dump(config.to_dict())))
    assert again == config


def test_the_original_recipe_is_the_original_study():
    config = RunConfig(recipe="original")
    assert (config.epochs, config.batch_size, config.lr, config.drop_last) == (30, 256, 0.1, False)
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.9, False)
    assert config.optimizer.decay_norm_and_bias
    assert (config.schedule.name, config.schedule.period, config.schedule.gamma) == ("step", 30, 0.1)
    assert (config.precision, config.compile, config.channels_last) == ("fp32", "off", False)
    assert (config.augment.crop_padding, config.augment.flip, config.label_smoothing) == (0, "none", 0)
    assert not config.mix and not config.ema and not config.tta


def test_the_old_name_of_a_recipe_stands_for_the_new_one(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("recipe: seed\n")
    named = RunConfig(recipe="original")
    assert RunConfig(recipe="seed") == RunConfig.load([file]) == RunConfig.load(sets=["recipe=seed"]) == named
    assert named.recipe == "original" and "seed" not in recipe_names()


@pytest.mark.parametrize("name, own", [("peak", {"warmup": 0.4}), ("step", {"period": 7, "gamma": 0.5})])
def test_a_schedule_as_version_0_1_wrote_it(name, own):
    old = {"name": name, "period": 7, "gamma": 0.5, "warmup": 0.4}
    assert RunConfig(schedule=old).to_dict()["schedule"] == {"name": name, **own}


def test_another_optimizer_or_schedule_starts_from_its_own_defaults():
    config = RunConfig(lr=0.002, optimizer={"name": "adamw", "beta2": 0.95}, schedule={"name": "cosine"})
    assert config.to_dict()["optimizer"] == {"name": "adamw", "weight_decay": 0.01, "decay_norm_and_bias": False,
                                             "beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
    assert config.to_dict()["schedule"] == {"name": "cosine", "warmup": 0.05}
    assert RunConfig(**config.to_dict()) == config
    assert RunConfig(optimizer={"momentum": 0.8}).optimizer.weight_decay == 5e-4  # the recipe's


@pytest.mark.parametrize("values, says", [
    ({"optimizer": {"name": "adamw"}}, "set one with --lr"),
    ({"optimizer": {"name": "adamw"}, "lr": "auto"}, "set one with --lr"),
    ({"optimizer": {"name": "adamw", "momentum": 0.9}, "lr": 0.1}, "adamw has no such key"),
    ({"optimizer": {"beta1": 0.9}}, "sgd has no such key"), ({"schedule": {"gamma": 0.5}}, "peak has no such key"),
    ({"optimizer": {"name": "adamw", "beta2": 1}, "lr": 0.1}, "optimizer.beta2"),
    ({"optimizer": {"name": ["sgd"]}}, "optimizer.name"), ({"optimizer": {"name": "sdg"}}, "did you mean 'sgd'"),
    ({"schedule": {"gama": 0.5}}, "unknown key 'schedule.gama'"),
    ({"schedule": {"name": [], "period": 1, "gamma": 1, "warmup": 1}}, "schedule.name"),
])
def test_a_section_takes_the_keys_of_its_part_only(values, says):
    with pytest.raises(ConfigError, match=says) as error:
        RunConfig(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values, says", [
    ({"lr": "nan"}, "lr: 'nan'"), ({"lr": "inf"}, "lr"), ({"lr": 0}, "above 0"), ({"epochs": -1}, "epochs: -1"),
    ({"epochs": 1.5}, "whole"), ({"epochs": True}, "whole"), ({"classes": 0}, "classes: 0"),
    ({"batch_size": 0}, "batch_size"),
    ({"epoch": 3}, "unknown key 'epoch': did you mean 'epochs'"),
    ({"flip": "random"}, "did you mean 'augment.flip'"), ({"name": "x"}, "'optimizer.name' or 'schedule.name'"),
    ({"arch": "resnet19"}, "did you mean 'resnet18'"), ({"head": "maxpol"}, "did you mean 'maxpool'"),
    ({"recipe": "fats"}, "did you mean 'fast'"), ({"augment": {"flipp": "x"}}, "did you mean 'augment.flip'"),
    ({"augment": 3}, "augment.crop_padding"), ({"optimizer": {"nesterov": True, "momentum": 0}}, "momentum"),
    ({"seed": 2**32}, "seed"), ({"image_size": 31}, "image_size"), ({"out": ""}, "out"),
    ({"drop_last": "yes"}, "drop_last"), ({"ema": 1}, "ema: 1 is not a number of at least 0 and at most 0.999999"),
    ({"mix": {"mixup": -1}}, "mix.mixup"), ({"mix": {"cutmux": 1}}, "did you mean 'mix.cutmix'"), ({"tta": 2}, "tta"),
])
def test_bad_values_say_what_and_where(values, says):
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")) as error:
        RunConfig(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("item", ["augmnt.flip=random", "flip=random", "=1", "lr", "lr=[", "augment=3"])
def test_bad_sets(item):
    with pytest.raises(ConfigError):
        RunConfig.load(sets=[item])


def test_scientific_notation_is_a_number_in_flags_files_and_sets():
    assert RunConfig.load(flags={"lr": "1e-3"}).lr == RunConfig.load(sets=["lr=1e-3"]).lr == 1e-3


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(known_keys()), st.one_of(st.integers(), st.floats(), st.text(), st.none(),
                                                                 st.booleans(), st.lists(st.integers())), max_size=4))
def test_any_value_is_taken_or_refused_in_one_line(values):
    nested = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    try:
        config = RunConfig(**nested)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert RunConfig(**config.to_dict()) == config


@pytest.mark.parametrize("flags, sets", [
    ({"arch": "resnet50", "head": "dropout", "epochs": "3", "data": "a b", "classes": "10"},
     ["augment.flip=none", "label_smoothing=0.2", "optimizer.nesterov=false"]),
    # what the recipe has as well counts for another optimizer or schedule
    ({"recipe": "original", "lr": "0.1"}, ["optimizer.name=adamw", "optimizer.weight_decay=1e-4"]),
    ({"lr": "auto"}, ["optimizer.name=adamw", "lr_per_256=0.4", "schedule.name=cosine", "schedule.warmup=0.2"]),
])
def test_the_command_of_a_config_repeats_it(flags, sets):
    config = RunConfig.load(flags=flags, sets=sets)
    arguments = build_parser().parse_args(shlex.split(config.command())[1:])
    assert read_config(arguments) == config


def test_auto_batch_rule_and_learning_rate():
    assert [auto_batch_size(n) for n in (1, 1000, 5000, 25_000, 100_000, 10**7)] == [32, 32, 32, 128, 512, 512]
    config = fit_to_data(RunConfig(batch_size=64), 1000)
    assert config.lr == config.lr_per_256 / 4
    assert fit_to_data(RunConfig(lr=0.3), 5000).lr == 0.3
    assert fit_to_data(RunConfig(), 7).batch_size == 7
    with pytest.raises(ConfigError, match="larger than the data"):
        fit_to_data(RunConfig(batch_size=64), 63)


def test_short_variant_form():
    def parse(*words):
        return read_config(build_parser().parse_args(["run", *words]))

    assert parse("-a", "resnet18_maxpool").head == "maxpool"
    assert parse("-a", "resnet50").head == "origin"
    assert parse("--arch", "resnet50_dropout", "--head", "dropout").variant == "resnet50_dropout"
    with pytest.raises(ConfigError, match="give one of them"):
        parse("-a", "resnet18_maxpool", "--head", "dropout")


def test_light_imports():
    code = ("import sys, fasttrain, fasttrain.config, fasttrain.keyed, fasttrain.registry, fasttrain.cli.main\n"
            "fasttrain.cli.main.build_parser().format_help()\n"
            "fasttrain.RunConfig(lr=0.1, optimizer={'name': 'adamw'}, schedule={'name': 'cosine'})\n"
            "heavy = {'torch', 'numba', 'nvidia', 'ffcv', 'matplotlib', 'PIL'} & set(sys.modules)\n"
            "sys.exit(f'imported: {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
