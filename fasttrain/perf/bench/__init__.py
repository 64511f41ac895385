"""Benchmarks: a race of contenders, each in a process of its own; rows of one form; a table and a picture of them."""
