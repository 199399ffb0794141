"""How a network is trained: loop, optimizer, checkpoints, recipe search."""
