"""What people and machines are told, in each channel's form."""
