"""What a reward says: a number, and a verdict that tells a wrong answer from a fault of ours."""

import dataclasses
import math

# right .. crashed are caused by the answer and score 0 unless right; no_verdict is caused by us
# (gold that does not parse, a grader that failed): the sample is masked and leaves its group.
VERDICTS = ("right", "wrong", "unparsed", "timeout", "crashed", "no_verdict")


@dataclasses.dataclass(frozen=True)
class Score:
  """A reward part: finite value, and one of VERDICTS."""

  value: float
  verdict: str

  def __post_init__(self):
    if self.verdict not in VERDICTS:
      raise ValueError(f"verdict {self.verdict!r} given; use one of {', '.join(VERDICTS)}")
    if not math.isfinite(self.value):
      raise ValueError(f"value {self.value} given; a reward is a finite number")
