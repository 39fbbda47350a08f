"""Evaluation: what a policy can do and how it behaves while doing it."""
