"""Which labels a retraining learns from: provenance, curation, quotas, label issues."""
