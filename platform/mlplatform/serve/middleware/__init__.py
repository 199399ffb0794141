"""What every request passes: authentication, limits, security headers, metrics, path prefix."""
