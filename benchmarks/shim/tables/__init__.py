"""What `benchmarks.tabular` starts beside ours: the same scikit-learn pipeline behind each peer."""
