"""What a window of predictions holds: rows, counts, statistics of rows, Evidently's metrics."""
