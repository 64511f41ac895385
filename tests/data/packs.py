"""Packs of small trees."""

import pytest

from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.errors import DataError


def pack_of(location, tmp_path, **options):
    options = {"image_size": 16, "on_message": lambda text: None, **options}
    return open_pack(open_source(str(location)), cache=tmp_path / "cache", **options)


def fails(location, tmp_path, *words):
    """Packing gives one line with all the words in it, and leaves no pack, not even half of one."""
    with pytest.raises(DataError) as caught:
        pack_of(location, tmp_path)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert [path.suffix for path in (tmp_path / "cache" / "packs").iterdir()] == [".lock"]
