"""Runs at the start of every Python process of scripts/test_gpu_host: a training on the null GPU needs some metrics.

The null GPU counts no images, and a mean over none of them is an error. Where the sums of an epoch are those of no
image, these stand for them.
"""

import importlib.abc
import importlib.util
import sys

MODULE = "fasttrain.train.metrics"
SUMS = [2.0, 0.5, 0.75, 1.0, 0.5]  # loss, top-1 hits, top-5 hits, images, hits with mirror images


class StandIn(importlib.abc.MetaPathFinder):
    """Replaces `means` of MODULE when that is imported."""

    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_replace(module):
            load(module)
            means = module.means
            module.means = lambda sums, prefix: means(sums if sums[3] else SUMS[:len(sums)], prefix)

        spec.loader.exec_module = load_and_replace
        return spec


sys.meta_path.insert(0, StandIn())
