"""What alerts.yaml may say: rules, metrics, units, channels, quiet hours."""
