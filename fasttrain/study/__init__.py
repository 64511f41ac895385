"""The study: every variant with every seed, each run a process of its own, then the report."""
