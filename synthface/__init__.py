"""Controlled synthetic face datasets: a spec in, labelled WebDataset shards out."""

__version__ = "0.1.0"
