"""Everything that knows pixels: decoding, augmentation, corruptions, statistics, Grad-CAM."""
