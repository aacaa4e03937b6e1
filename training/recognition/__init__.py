"""The recognition network: reading dlib's file, measuring the mean descriptor and how well it tells people apart."""
