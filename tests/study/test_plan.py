"""What a study consists of, before anything is opened."""

import pytest

from fasttrain.errors import ConfigError
from fasttrain.study.plan import names, plan


def test_every_variant_has_its_first_seed_before_any_has_its_second():
    configs = plan(["resnet18", "resnet50"], ["origin", "maxpool"], ["fast", "original"], 2, "study",
                   flags={"epochs": 3})
    assert [config.out for config in configs][:5] == [
        "study/resnet18_origin/fast-0", "study/resnet18_maxpool/fast-0", "study/resnet50_origin/fast-0",
        "study/resnet50_maxpool/fast-0", "study/resnet18_origin/original-0"]
    assert [config.seed for config in configs] == [0] * 8 + [1] * 8
    assert {(config.epochs, config.resume) for config in configs} == {(3, "auto")}


def test_a_stem_is_named_in_the_folder_and_files_and_sets_count(tmp_path):
    (tmp_path / "more.yaml").write_text("label_smoothing: 0.2\narch: resnet50\n")
    (config,) = plan(["resnet18"], ["origin"], ["fast"], 1, "study", [tmp_path / "more.yaml"], {"stem": "small"},
                     ["augment.flip=random"])
    assert config.out == "study/resnet18_origin_small-stem/fast-0"
    assert (config.arch, config.label_smoothing, config.augment.flip) == ("resnet18", 0.2, "random")


def test_names_are_checked_and_taken_once():
    assert names("archs", None) == ["resnet18", "resnet50"]
    assert names("heads", "maxpool, origin,maxpool") == ["maxpool", "origin"]
    assert names("recipe", "seed,original") == ["original"]
    for flag, text, says in (("heads", "maxpol", "did you mean 'maxpool'"), ("archs", "", "--archs"),
                             ("recipe", "fast,slow", "'slow'")):
        with pytest.raises(ConfigError, match=says):
            names(flag, text)


@pytest.mark.parametrize("item", ["seed=7", "head=dropout", "out=elsewhere", "recipe=original"])
def test_what_the_study_decides_cannot_be_set(item):
    with pytest.raises(ConfigError, match="a study sets"):
        plan(["resnet18"], ["origin"], ["fast"], 1, "study", sets=[item])


def test_a_run_begun_under_the_old_name_of_its_recipe_keeps_its_folder(tmp_path):
    (tmp_path / "resnet18_origin" / "seed-0").mkdir(parents=True)
    configs = plan(["resnet18"], ["origin"], ["original"], 2, str(tmp_path))
    assert [config.out.rpartition("/")[2] for config in configs] == ["seed-0", "original-1"]
