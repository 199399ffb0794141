"""Which version serves: promotions, quarantines, probation, rollouts (shadow, canary)."""
