"""Benchmarks: each contender in a process of its own (`worker`), rows of one form, a table and a picture of them."""
