"""The face parser m(·): pseudo-labels from a person matte, landmarks and colours, and a small network that learns them."""
