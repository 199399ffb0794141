"""From a request to predictions: decoding, batching, caching, the model slot and its reloader, rollouts."""
