"""What changed rules would have done on the stored history."""
