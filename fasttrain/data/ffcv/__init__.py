"""FFCV's files and a pipeline that makes our batches of them."""
