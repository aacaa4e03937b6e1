"""The spec language: YAML in, frozen dataclasses out."""
