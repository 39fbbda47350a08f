"""Rewards: total functions from a question and a response to a number and a verdict."""
