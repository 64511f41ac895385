"""Where the time goes: costs, ceilings, the profile, benchmarks."""
