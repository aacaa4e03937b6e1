"""λ of each photo by optimisation: pose, shape and expression from landmarks, light and albedo from the skin's colour."""
