"""DeepSeek-R1 in JAX."""
