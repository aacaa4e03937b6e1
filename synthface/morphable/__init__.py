"""The 3D morphable model: factors λ to a mesh, a camera's view of it, and a shaded picture x̂."""
