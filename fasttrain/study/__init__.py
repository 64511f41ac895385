"""The study: trains every variant with every seed, each run in a process of its own, then reports."""
