"""Images as most people read them: a folder of files, Pillow, tensors of floats, torch's DataLoader."""

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset


class Images(Dataset):
    """Holds the files in FOLDER/<class>/ as (image, label): float32 [3, S, S], normalised, decoded on each access.

    padding: pixels of zeros around an image before a random crop of its size. flip: mirrors every other one, at random.
    """

    def __init__(self, folder, mean, std, padding=0, flip=False):
        self.files = sorted(Path(folder).glob("*/*"))
        self.labels = [int(file.parent.name) for file in self.files]
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        self.padding, self.flip = padding, flip

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with Image.open(self.files[index]) as file:
            image = file.convert("RGB")
        if self.padding:
            left, top = random.randint(0, 2 * self.padding), random.randint(0, 2 * self.padding)
            box = left, top, left + image.width, top + image.height
            image = ImageOps.expand(image, self.padding).crop(box)
        if self.flip and random.random() < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub_(self.mean).div_(self.std), self.labels[index]
