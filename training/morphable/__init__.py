"""Building the default morphable model and importing others."""
