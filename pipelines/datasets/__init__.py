"""Public data sets: downloads with checksums and the formats they come in."""
