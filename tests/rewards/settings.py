"""Settings of verifiers and shaping that the tests share."""

from r1.rewards import accuracy, shaping
from r1.rewards.code import grade as code
from r1.rewards.sandbox import program

LIMITS = program.Limits(
  wall_s=6.0,
  build_s=20.0,
  cpu_s=6.0,
  memory_bytes=512 << 20,
  disk_bytes=16 << 20,
  output_bytes=1 << 20,
  processes=32,
)


def verifier(mode: str, **changes) -> accuracy.VerifierConfig:
  settings = {"workers": 2, "seconds": 1.0, "memory_bytes": 2**30, "jobs": 1_000, "lanes": 2}
  settings |= {"python": "", "url": "", "code": code.CodeConfig(credit="all", limits=LIMITS)}
  return accuracy.VerifierConfig(mode=mode, **settings | changes)


OFF = shaping.ShapingConfig(
  overlong=0.0,
  limit=100,
  buffer=50,
  repetition=0.0,
  ngram=2,
  length=0.0,
  cosine=0.0,
  curve=shaping.CosineConfig(
    limit=100, right_short=1.0, right_long=0.5, wrong_short=-1.0, wrong_long=-0.5
  ),
  steps=0.0,
)
