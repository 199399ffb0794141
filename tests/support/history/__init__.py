"""Long histories of a platform: what happens in one, and stores filled with it."""
