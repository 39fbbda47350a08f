"""Answers to mathematical questions: found in a response, read, compared with the gold answer."""
