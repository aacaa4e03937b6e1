"""Shards: samples as files in a tar, their labels as a Parquet table beside it; writing, committing and reading."""
