"""What `benchmarks.flights` and `benchmarks.employment` replay: rows of a table with known truths, in their order."""
