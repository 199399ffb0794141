"""The HTTP routes and the bodies they read."""
