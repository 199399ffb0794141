"""One module per promise that is measured; run as `python -m benchmarks.NAME [--quick]`.

The last printed line of each is one JSON object with its figures.
"""
