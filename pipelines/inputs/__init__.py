"""Input codecs: what the platform does with inputs without knowing of which kind they are."""
