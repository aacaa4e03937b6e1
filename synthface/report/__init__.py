"""Datasets to look at: contact sheets, and a report in one HTML file."""
