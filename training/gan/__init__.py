"""Training G(λ, ε) by imitation and contrast. Needs torch, numpy, pillow and safetensors, and nothing else, to run."""
