"""Measuring a generator: `python -m training evaluate BUNDLE --real PHOTOS`."""
