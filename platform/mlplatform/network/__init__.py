"""Outgoing connections: which addresses are allowed, deadlines, proxies, secrets kept out of messages."""
