"""What was predicted: prediction records, counts, review samples, sampling plans, input samples, shadow predictions."""
