"""FFCV's loader fitted to keyed batches: a decoder that augments, and a reader that fails instead of hanging.

Importing this imports FFCV, which must be there.
"""

import contextlib
import time
from queue import Empty

import numba
import numpy as np
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.loader.epoch_iterator import IS_CUDA, EpochIterator
from ffcv.memory_managers import OSCacheManager
from ffcv.pipeline.compiler import Compiler
from ffcv.transforms import ToDevice, ToTensor

from fasttrain.data.augment.fused_numba import augment_into
from fasttrain.errors import DataError

AHEAD = 2  # finished batches that wait; FFCV keeps buffers for two more
PATIENCE = 120  # seconds without a batch after which a reader is given up
LAST_BATCH = 5  # seconds that a reader which is closed may take for the batch that it is at


@numba.njit(nogil=True, cache=True)
def read_batch(out, file, pointers, indices, padding, flips, cutout, keys):
    """Augments the images that lie at `pointers[indices]` in the bytes of `file` into `out`, uint8 [B, S, S, 3]."""
    flat, size = out.reshape(len(out), -1), out.shape[1]
    for i in range(len(indices)):
        first = pointers[indices[i]]
        augment_into(flat[i], file[first:first + flat.shape[1]], size, indices[i], padding, flips, cutout, keys)


class KeyedDecoder(SimpleRGBImageDecoder):
    """Reads raw images and augments them on the way, in one pass.

    FFCV would freeze the epoch's keys when it compiles; they come with the state of each `Reader` instead.
    """

    def generate_code(self):
        pointers = self.metadata["data_ptr"].astype(np.int64)

        def decode(indices, out, metadata, state):
            file, _, _, arguments = state
            read_batch(out, file, pointers, indices, *arguments)
            return out

        return decode


class Reader(EpochIterator):
    """One pass over an order: a thread that keeps a few batches ahead of `next`.

    loader: from `make_loader`. order: int64, samples of all batches one behind the other. arguments: what
    `fused_numba.kernel_arguments` gives for the epoch. The tensors of a batch are overwritten two batches later.
    """

    def __init__(self, loader, order, arguments):
        self.arguments, self.error = arguments, None
        super().__init__(loader, order)

    def run(self):
        self.storage_state = (*self.storage_state, self.arguments)
        try:
            if IS_CUDA:  # the buffers were allocated on the stream that works on what was there before
                for stream in self.cuda_streams:
                    stream.wait_stream(self.current_stream)
            super().run()
        except Exception as error:  # FFCV would leave `next` waiting forever
            self.error = error
            self.output_queue.put(None)

    def run_pipeline(self, number, indices, slot, event):
        if event is not None:  # FFCV lets only the stream wait, and could overwrite pinned memory before it is copied
            event.synchronize()
        return super().run_pipeline(number, indices, slot, event)

    def __next__(self):
        """The next images: uint8 [b, S, S, 3]. DataError where the reader failed or delivers nothing any more."""
        try:
            result = self.output_queue.get(timeout=PATIENCE)
        except Empty:
            raise DataError(f"{self.loader.fname}: FFCV delivered nothing for {PATIENCE} s: does its disk answer? "
                            "Try again, or use --loader resident") from None
        if result is None:
            if self.error is None:
                raise StopIteration
            reason = str(self.error).strip().partition("\n")[0] or type(self.error).__name__
            raise DataError(f"{self.loader.fname}: FFCV's reader failed ({reason}): delete this file, it will be "
                            "written again, or use --loader resident") from self.error
        slot, (images,) = result
        if IS_CUDA:
            self.current_stream.wait_stream(self.cuda_streams[slot])
        return images

    def close(self):
        """Ends the thread; may be called twice. A thread that hangs is left behind."""
        self.iter_ixes = iter(())
        deadline = time.monotonic() + LAST_BATCH
        while self.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(Empty):
                self.output_queue.get(timeout=0.01)
        if IS_CUDA:  # whoever gets the buffers next waits for the copies in flight
            for stream in self.cuda_streams:
                self.current_stream.wait_stream(stream)


def make_loader(path, device):
    """FFCV's Loader of the .beton at `path` for `Reader`s that deliver to the torch.device `device`.

    Its compiler stays off: `read_batch` is compiled, and kept between processes, which FFCV's code would not be.
    """
    transforms = [KeyedDecoder(), ToTensor()]
    if device.type != "cpu":
        transforms.append(ToDevice(device, non_blocking=True))
    Compiler.set_enabled(False)
    try:
        return Loader(str(path), batch_size=1, num_workers=1, os_cache=True, order=OrderOption.SEQUENTIAL,
                      pipelines={"image": transforms}, drop_last=False, batches_ahead=AHEAD)
    finally:
        Compiler.set_enabled(True)


def tame():
    """Takes out of FFCV what it would do to the whole process."""
    # It would set torch's number of threads, which is the trainer's.
    Compiler.set_num_threads = classmethod(lambda compiler, count: setattr(compiler, "num_threads", count))
    # It would mark numba's type of all uint8 arrays read-only. `KeyedDecoder` reads by itself.
    OSCacheManager.compile_reader = lambda manager: None


tame()
