"""From a configuration to a job: plans that BatchNorm cannot train on."""

import pytest

from fasttrain import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.train.build import refuse_batch_of_one


@pytest.mark.parametrize(("changes", "size"), [
    ({"batch_size": 1}, 32), ({"batch_size": 7, "drop_last": False}, 32), ({"batch_size": 3, "sizes": "64x1,32x1"}, 32),
])
def test_a_batch_of_one_image_that_batchnorm_cannot_train_on_is_refused(changes, size):
    config = RunConfig(**{"image_size": 64 if "sizes" in changes else 32, "drop_last": False, **changes})
    with pytest.raises(ConfigError, match=f"batch size .*BatchNorm needs two to train at {size} px") as error:
        refuse_batch_of_one(config, train_images=22, num_classes=3)
    assert "\n" not in str(error.value)


def test_a_batch_of_one_image_is_no_trouble_at_larger_maps_or_when_it_is_dropped():
    refuse_batch_of_one(RunConfig(batch_size=7, drop_last=False), 22, 3)
    refuse_batch_of_one(RunConfig(batch_size=7, drop_last=True, image_size=32), 22, 3)
