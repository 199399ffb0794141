"""How a saved model is computed: PyTorch, ONNX Runtime, ExecuTorch, and the files they read."""
