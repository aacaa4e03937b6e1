"""From a folder of photos to aligned, packed crops with landmarks, and the photos that were turned down with reasons."""
