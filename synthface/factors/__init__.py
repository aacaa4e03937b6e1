"""The factors λ of an image: identity, expression, lighting and pose, and the noise ε beside them."""
