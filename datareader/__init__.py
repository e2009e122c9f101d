"""List line -> pixels: records, sampling, decoding, transforms, batches."""
