"""How a server computes: measured configurations and the search for a faster one."""
