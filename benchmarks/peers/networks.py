"""Other libraries' ResNets in fasttrain's step, beside its own: `fasttrain bench step --peers`."""

import importlib

from fasttrain.perf.bench.contenders import CLASSES, StepAlone


class Torchvision(StepAlone):
    """torchvision's network of the same name."""

    def __init__(self, config, steps=None):
        models = importlib.import_module("torchvision.models")
        super().__init__(config, steps, getattr(models, config["arch"])(num_classes=CLASSES))


class Timm(StepAlone):
    """timm's network of the same name."""

    def __init__(self, config, steps=None):
        timm = importlib.import_module("timm")
        super().__init__(config, steps, timm.create_model(config["arch"], num_classes=CLASSES))
