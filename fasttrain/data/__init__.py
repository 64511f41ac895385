"""From a source of images, through a pack on disk, to loaders that yield batches."""
