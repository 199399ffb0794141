"""What `benchmarks.serving` starts: ours, the peers and the limits, each a server of one process tree."""
