"""The λ-VAEs: z ~ N(0, I) to the factors of real photos."""
