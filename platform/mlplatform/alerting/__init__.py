"""Who must know: alerts, evaluations, notifications, outbox, dispatcher, explanations."""
