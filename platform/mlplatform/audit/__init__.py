"""Who did what, provably: audit log, hash chains, checkpoints, verification."""
