"""Label Studio: inputs exported as its tasks, and its annotations taken as labels."""
