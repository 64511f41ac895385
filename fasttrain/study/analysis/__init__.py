"""From run folders to answers: statistics, comparisons, ablation.json."""
