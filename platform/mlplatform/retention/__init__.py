"""What is forgotten: retention periods and erasure on request."""
