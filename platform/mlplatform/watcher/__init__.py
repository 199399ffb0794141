"""When things run: the scheduler, its leadership, an executor that one hanging job cannot block."""
