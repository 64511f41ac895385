"""`fasttrain record`: the least time to an accuracy, kept and challenged as benchmarks/records/README.md says."""
