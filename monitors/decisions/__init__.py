"""One decision per kind of metric: from numbers to findings."""
