"""What `benchmarks.monitoring` measures on: a history of answers and labels, its filling, and one file per system."""
