"""A sampler of no filters and no drafts, from which a test names what it changes."""

from r1.sampling import decode


def sampler(**changes) -> decode.SamplerConfig:
  return decode.SamplerConfig(**decode.PLAIN | {"slots": 8, "prompt_bucket": 8} | changes)
