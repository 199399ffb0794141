"""Whether a model is still right: evaluation of rules, their inputs, drift, label-free estimates, reports."""
