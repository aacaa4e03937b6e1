"""What to do with a dataset once it is rendered: training and measuring networks on it. Runs from a checkout."""
