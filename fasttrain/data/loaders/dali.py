"""NVIDIA DALI decodes, crops, mirrors and cuts inside its graph: on the GPU where there is one, else in its threads.

Order and parameters are ours: each step feeds the encoded images and their keyed draws, and nothing in the graph is
random. On a CPU the pixels equal those of every other loader bit for bit. nvJPEG rounds differently from libjpeg-turbo,
so decoded on a GPU they differ by a few gray levels.
"""

import sys
import weakref
from collections import deque

import numpy as np
import torch

from fasttrain.data.augment.fused import FUSED, fused_draws, fused_keys
from fasttrain.data.batch import Batch, BatchLoader
from fasttrain.data.decode import decode_into
from fasttrain.data.encoded import damaged, require_jpeg
from fasttrain.data.labels import no_images, targets_on
from fasttrain.data.loaders import missing
from fasttrain.environment import PARTS
from fasttrain.errors import ConfigError, DataError

PREFETCH = 3  # batches under way: one is decoded while one is augmented and one is handed out


class Feed:
    """Gives DALI the inputs of its next run; each iteration over the loader sets `steps`."""

    steps = iter(())

    def __call__(self):
        return next(self.steps)


class DaliLoader(BatchLoader):
    """Serves splits whose images are all JPEG of the wanted size; see `BatchLoader` for the contract.

    A new iteration ends the one before it. Raises ConfigError without DALI, without its GPU, and for other splits;
    DataError, naming the image, where one cannot be decoded. The loader can be used again after that.
    """

    does = FUSED

    def __init__(self, spec):
        super().__init__(spec)
        require_jpeg("dali", spec.split)
        self.device = torch.device(spec.device)
        self.jpeg = np.asarray(spec.split.jpeg)  # slices of a plain array cost a tenth of those of a memory map
        self.feed = Feed()
        self.under_way = deque(maxlen=PREFETCH)  # indices of the batches that DALI works on
        self.pipeline = self.build()
        self.running = None

    def build(self):
        """Returns the pipeline, ready to run."""
        gpu = self.device.type == "cuda"
        try:
            pipeline = graph(self.feed, self.spec.split.image_size, self.augment, gpu, batch_size=self.plan.local_size,
                             num_threads=self.spec.workers,
                             device_id=(self.device.index or 0) if gpu else None)
            pipeline.build()
        except RuntimeError as error:
            raise ConfigError(f"loader dali: DALI cannot run on {self.device} here ({first_line(error)}): "
                              "use --loader jpeg or resident") from error
        return pipeline

    def load(self, epoch, steps):
        self.stop()
        batches = self.batches(epoch, steps)
        self.running = weakref.ref(batches)  # weak: dropping the iteration ends it
        return batches

    def batches(self, epoch, steps):
        """Yields the batches of `load`; keeps PREFETCH of them under way."""
        self.pipeline = self.pipeline or self.build()
        filled = [indices for indices, _ in steps if len(indices)]
        self.feed.steps = self.inputs(epoch, filled)
        self.pipeline.reset()
        self.pipeline.schedule_run()
        try:
            for (local, valid), targets in zip(steps, targets_on(self.device, self.spec.split.labels, steps),
                                               strict=True):
                yield Batch(self.next_images() if len(local) else no_images(self.spec), *targets, valid)
        finally:
            self.drain()

    def inputs(self, epoch, batches):
        """Yields what `graph` takes for each array of indices: the encoded images, then what the augmentation needs."""
        split, offsets, augment = self.spec.split, self.spec.split.offsets, self.augment
        keys = fused_keys(augment, self.spec.seed, epoch)
        for indices in batches:
            self.under_way.append(indices)
            rows = split.rows[indices]
            bounds = zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)
            encoded = [self.jpeg[first:last] for first, last in bounds]
            drawn = fused_draws(augment, keys, indices, split.image_size)
            crop = np.stack([drawn.crop_y, 3 * drawn.crop_x], 1).astype(np.int32)
            hole = np.stack([drawn.cutout_y, drawn.cutout_x], 1).astype(np.float32)
            yield tuple(choose(augment, encoded, crop, drawn.flip.astype(np.int32), hole))

    def next_images(self):
        """Returns the next images, uint8 [b, S, S, 3] on the device, in memory that DALI hands over without a copy."""
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        try:
            (output,) = self.pipeline.outputs(stream)
            images = torch.from_dlpack(output.as_tensor())
            self.pipeline.schedule_run()
        except RuntimeError as error:
            self.pipeline = None  # after an error DALI delivers nothing more
            raise self.explain(error) from error
        return images

    def explain(self, error):
        """Returns a DataError that names the image behind DALI's `error`, which knows no rows."""
        split = self.spec.split
        pixels = np.empty((split.image_size, split.image_size, 3), np.uint8)
        for row in split.rows[np.concatenate(self.under_way)]:
            try:
                decode_into(self.jpeg[split.offsets[row]:split.offsets[row + 1]].tobytes(), pixels)
            except ValueError as reason:
                return damaged("dali", split, row, reason)
        return DataError(f"loader dali: {first_line(error)}: run `fasttrain data verify`, or use --loader resident")

    def drain(self):
        """Takes what is still under way: the next epoch starts with an idle pipeline."""
        if sys.is_finalizing():  # DALI has ended its pipelines by then
            return
        self.feed.steps = iter(())
        try:
            while self.pipeline is not None:
                self.pipeline.schedule_run()  # sees the end of the feed, so that `reset` takes effect
                self.pipeline.outputs()
        except StopIteration:
            pass
        except RuntimeError:
            self.pipeline = None

    def stop(self):
        """Ends the iteration that is under way."""
        running = self.running and self.running()
        if running is not None:
            running.close()

    def close(self):
        self.stop()
        self.pipeline = None


def graph(source, image_size, augment, gpu, **options):
    """Returns the pipeline from `source` to uint8 [B, S, S, 3]: decode, crop, mirror, cut out, in this order.

    source: called for each run; gives the inputs of a batch in the order of `choose`. gpu: decode ("mixed": parsed on
    the host) and augment there. options: of DALI's Pipeline; with device_id None, either kind of graph can be
    constructed without a driver. Raises ConfigError where DALI is missing or broken.
    """
    reason = missing("dali")
    if reason:
        raise ConfigError(f"loader dali: cannot import DALI ({reason}): {PARTS['dali'].install}")
    from nvidia.dali import Pipeline, fn, types

    pipeline = Pipeline(prefetch_queue_depth=PREFETCH, **options)
    dtypes = choose(augment, types.UINT8, types.INT32, types.INT32, types.FLOAT)
    ndims = choose(augment, 1, 1, 0, 1)
    # Size nvJPEG's buffers once; 0.65 is the share of a batch that DALI gives to a hardware decoder by default.
    hints = {"preallocate_width_hint": image_size, "preallocate_height_hint": image_size,
             "hw_decoder_load": 0.65} if gpu else {}
    with pipeline:
        inputs = iter(fn.external_source(source, num_outputs=len(dtypes), dtype=dtypes, ndim=ndims))
        images = fn.decoders.image(next(inputs), device="mixed" if gpu else "cpu", output_type=types.RGB,
                                   jpeg_fancy_upsampling=True, **hints)  # as libjpeg-turbo scales colours up
        if augment.crop_padding:  # rows of bytes move in half the time of rows of pixels
            rows = fn.reinterpret(images, shape=(image_size, 3 * image_size), layout="HW")
            rows = fn.slice(rows, start=next(inputs), shape=(image_size, 3 * image_size), axes=(0, 1),
                            out_of_bounds_policy="pad", fill_values=0)
            images = fn.reinterpret(rows, shape=(image_size, image_size, 3), layout="HWC")
        if augment.flip != "none":
            images = fn.flip(images, horizontal=next(inputs))
        if augment.cutout:
            images = fn.erase(images, anchor=next(inputs), shape=(augment.cutout, augment.cutout), axis_names="HW",
                              fill_value=0)
        pipeline.set_outputs(images)
    return pipeline


def choose(augment, encoded, crop, flip, hole):
    """Returns those of four values, one for each possible input of the graph, that `augment` needs, in their order."""
    wanted = ((True, encoded), (augment.crop_padding, crop), (augment.flip != "none", flip), (augment.cutout, hole))
    return [value for needed, value in wanted if needed]


def first_line(error):
    """Returns what an exception says, without its stack of C++ frames."""
    return str(error).strip().partition("\n")[0]
