"""How a candidate is made: rows, training, gate evidence, report, model card."""
