"""The transformer: plain functions over a nested dict of arrays."""
