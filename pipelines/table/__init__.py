"""Makes a pipeline of a DataFrame and a function that fits a model on it."""
