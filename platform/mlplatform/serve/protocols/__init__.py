"""Other serving protocols: KServe Open Inference V2, MLflow scoring, raw tensors."""
