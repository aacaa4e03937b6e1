"""Making the generator: every stage from photos to a bundle. Runs from a checkout: `python -m training <stage>`."""
