"""The networks that rendering needs, in plain torch: no custom kernels."""
