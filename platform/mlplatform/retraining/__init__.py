"""How a model is renewed: queue, limits, readiness, training labels, worker, supervisor."""
