"""Statistics without a store: intervals, e-detector, paired sequential test, two-sample tests."""
