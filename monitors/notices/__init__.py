"""What is said to people and machines, in each channel's form."""
