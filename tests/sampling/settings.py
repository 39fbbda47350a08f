"""A sampler of no filters and no drafts, from which a test names what it changes."""

from r1.sampling import decode


def sampler(**changes) -> decode.SamplerConfig:
  paged = {"chunk": 4, "cache_tokens": 4096, "cache_dtype": "", "layout": "auto", "in_flight": 1}
  return decode.SamplerConfig(**decode.PLAIN | paged | {"slots": 8, "prompt_bucket": 8} | changes)
