"""A toy source: `plain:N` is N plain gray images of each of two classes, black ones and white ones."""

import io

from PIL import Image

from fasttrain.data.sources.base import Item, Source, SourceIndex, fingerprint_of


class PlainSource(Source):
    kind = "plain"

    def __init__(self, count):
        self.count, self.location = count, f"plain:{count}"

    @classmethod
    def find(cls, location):
        name, _, count = location.partition(":")
        return cls(int(count)) if name == cls.kind else None

    def fingerprint(self):
        return fingerprint_of([(self.location, 0, 0)])

    def index(self):
        items = [Item(f"{label}/{number}", label, self.draw) for label in range(2) for number in range(self.count)]
        return SourceIndex(["black", "white"], ["black", "white"], items, items)

    def draw(self, path):
        file = io.BytesIO()
        Image.new("L", (16, 16), 255 * int(path[0])).save(file, "PNG")
        return file.getvalue()
