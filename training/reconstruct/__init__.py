"""The reconstruction network: photo to λ, pose, light and landmarks; and a second one that only judges."""
