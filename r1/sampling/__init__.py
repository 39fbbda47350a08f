"""From questions to sampled answers with their log-probabilities."""
