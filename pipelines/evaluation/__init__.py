"""How good a model is: scores with intervals, robustness, fairness, calibration."""
