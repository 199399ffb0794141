"""Makes ONNX graphs of models that scikit-learn, LightGBM or XGBoost fitted on tables."""
