"""Other people's morphable models, read from their official files into `MorphableBasis`."""
