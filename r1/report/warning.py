"""What a run says of itself unasked: lines with rich's mark-up, none where all is well."""

from collections.abc import Iterator, Sequence

import rich.markup

SEEN = 0.5  # share of the questions that the base should answer rightly once among its samples
GAP = 1e-5  # what float32 rounding may leave between two computations of one ratio
SHOWN = 3  # errors of graders told per rollout


def of_base(metrics: dict, samples: int) -> Iterator[str]:
  """RL can only select what sampling finds. metrics: of the evaluation; samples: its k."""
  if (found := metrics[f"eval/pass@{samples}"]) < SEEN:
    yield (
      f"[yellow]only {found:.0%} of the questions have a right answer among {samples} samples of "
      "the base: RL has little to reinforce; train the base for longer or ask easier questions"
    )


def of_first_update(metrics: dict, dtype: str) -> Iterator[str]:
  """The weights that sampled are those that learn, so every ratio is 1 before the first update."""
  if dtype == "float32" and (gap := metrics["policy/ratio_gap"]) > GAP:
    yield f"[red]the first update is not on-policy: |ratio - 1| = {gap:.1e}"


def of_graders(errors: Sequence[str]) -> Iterator[str]:
  """The first errors; their text is foreign, so its square brackets are no mark-up."""
  for error in errors[:SHOWN]:
    yield f"[red]no verdict: {rich.markup.escape(error)}[/red]"
