"""Who may do what: API keys, their cache, rate limits."""
