"""Sequential detectors over labelled predictions: streams by source, maturity, blocks, the null hypothesis, power."""
