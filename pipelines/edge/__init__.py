"""A model on another machine: export and a small server."""
