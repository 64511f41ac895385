"""Random resized crop applied to whole batches, on the device where they lie."""

import contextlib

from fasttrain.data.augment import draw_keys
from fasttrain.data.augment.resized_crop import crop_sizes


class ResizedCrop:
    """Crops, resizes, flips and cuts a LoaderSpec's batches of plain images, on the device where they lie."""

    def __init__(self, spec):
        import torch

        self.spec = spec
        self.on_gpu = torch.device(spec.device).type == "cuda"
        self.sizes = crop_sizes(spec.augment.rrc_scale, spec.split.image_size)
        if self.on_gpu:
            from fasttrain.data.augment.torch_mirror import compiled, resized_crop_batch

            self.crop = compiled(resized_crop_batch)
            self.sizes = torch.from_numpy(self.sizes).to(spec.device)

    def over(self, batches, epoch):
        """Yields the batches of the generator `batches` with their images cropped."""
        apply = self.gpu_step(epoch) if self.on_gpu else self.cpu_step(epoch)
        with contextlib.closing(batches):
            for batch in batches:
                yield batch._replace(images=apply(batch.images, batch.indices))

    def cpu_step(self, epoch):
        import torch

        from fasttrain.data.augment.numba_mirror import kernel_arguments
        from fasttrain.data.augment.resized_crop_numba import resized_crop_batch

        arguments = kernel_arguments(self.spec.augment, self.spec.seed, epoch)

        def apply(images, indices):
            out = torch.empty_like(images)
            resized_crop_batch(out.numpy(), images.numpy(), indices.numpy(), self.sizes, arguments)
            return out

        return apply

    def gpu_step(self, epoch):
        from fasttrain.data.augment.torch_mirror import keys_on

        keys = keys_on(self.spec.device, draw_keys(self.spec.augment, self.spec.seed, epoch))
        return lambda images, indices: self.crop(images, indices, self.sizes, self.spec.augment, keys)
