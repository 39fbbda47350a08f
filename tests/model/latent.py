"""Small models with latent attention, one for each way in which its weights differ."""

from r1.model import rope
from tests.model import tiny

YARN = rope.Scaling(
  kind="yarn",
  factor=4.0,
  original=8,
  low=1.0,
  high=4.0,
  truncate=True,
  mscale=0.7,
  mscale_all=1.3,
  amplitude=None,
)
SIZES = {"attention": "mla", "N": 4, "A": 12, "C": 10, "P": 6, "W": 5, "norm_eps": 0.01}
PLAIN = {"qkv_bias": False, "rope_pairs": True, "stacks": (("dense", 1),)}
VARIANTS = {
  "query latent": {},
  "no query latent": {"A": 0},
  "stretched": {"A": 0, "rope_scaling": YARN},
  "biases": {"qkv_bias": True, "o_bias": True, "rope_pairs": False, "rope_scaling": YARN},
}


def config(variant: str, **changes):
  """A ModelConfig in which no two sizes are equal, but for the heads."""
  return tiny.config(**SIZES | PLAIN | VARIANTS[variant] | changes)
