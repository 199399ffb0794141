"""The gate: evidence, checks and the verdict on a candidate."""
