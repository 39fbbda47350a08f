"""The ablations: one question each, arms that differ in what they are called by, three seeds.

  python -m experiments.sweep --config=configs/ablations.py:clip,pipeline=runs/r1-{seed} \
    --workdir=runs/ablations/clip

`pipeline` is where the stages of `experiments.pipeline` are that the arms start from, one run for
each seed. docs/results.md has the rows.
"""

import ml_collections

from configs import common

ZERO = "tiny,model={pipeline}/base,seed={seed}"
COLD = "tiny,model={pipeline}/cold_start,seed={seed}"
STUDENT = "tiny,model={pipeline}/student_base,seed={seed}"
BOTH = {"data__languages": (("en", 0.6), ("zh", 0.4))}
TRAINED = ("greedy", "accuracy", "length", "consistency", "updates_to", "trained", "sampled")
ALIGNED = (
  "accuracy",
  "length",
  "helpful",
  "helpfulness",
  "helpfulness_unseen",
  "unsafe",
  "refusals",
)


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: the name of an ablation, pipeline=RUNS, seeds=N, lanes=N."""
  names = dict.fromkeys(ABLATIONS, False)
  a = common.parse(arg, **names, pipeline="runs/r1-{seed}", seeds=3, lanes=2)
  chosen = [name for name in ABLATIONS if a[name]]
  if len(chosen) > 1:
    raise ValueError(f"{chosen} given; choose one of {', '.join(ABLATIONS)}")
  c = ml_collections.ConfigDict()
  c.pipeline = a.pipeline
  c.seeds = tuple(range(a.seeds))
  c.lanes = a.lanes
  c.reach = 0.9  # the accuracy of training whose first update is told
  # (name, experiment, its config's argument, where answers stand, ((setting, value), ...))
  c.arms = tuple((name, *given) for name, given in ABLATIONS[chosen[0]]().items()) if chosen else ()
  c.metrics = ALIGNED if chosen == ["preference"] else TRAINED
  return c


def arm(experiment: str, arg: str, mode: str, **overrides) -> tuple:
  """One arm; overrides name settings with __ for the dot."""
  return experiment, arg, mode, tuple((k.replace("__", "."), v) for k, v in overrides.items())


def zero(arg: str = ZERO, **overrides) -> tuple:
  """An arm of R1-Zero on questions in both languages."""
  return arm("r1_zero", arg, "answer_tag", **BOTH, **overrides)


def stage(name: str) -> tuple:
  """An arm that changes nothing: what experiments.pipeline has made."""
  return arm("pipeline", name, "")


def language() -> dict:
  """Does the language reward keep thoughts in one language, and what does it cost? (Figure 7)."""
  return {"off": stage("r1_zero"), "on": zero(reward__language=1.0)}


def clip() -> dict:
  """Clipping at 10, which never acts below a ratio of 11, against PPO's usual 0.2."""
  return {"10": stage("r1_zero"), "0.2": zero(grpo__clip_low=0.2, grpo__clip_high=0.2)}


def reference() -> dict:
  """A KL reference that stays the base, or that follows the policy.

  The paper's weight of 0.001 is hardly felt in so few updates, so the two have one that is.
  """
  return {
    "weak": stage("r1_zero"),
    "base": zero(grpo__kl=0.02),
    "every_48": zero(grpo__kl=0.02, rl__reference_every=48),
  }


def ppo() -> dict:
  """GRPO against PPO with two lambdas (appendix A.3)."""
  arms = {"grpo": stage("r1_zero")}
  for lam in (0.95, 1.0):
    arms[f"ppo_{lam}"] = arm("ppo", f"{ZERO},lam={lam}", "answer_tag", **BOTH)
  return arms


def student() -> dict:
  """Distillation against RL on the small model, whose learning rate is swept (table 6).

  56 rollouts, so that RL has no less of the student's compute: a forward pass for each token that
  is sampled or scored, two scorings, and three for each one that is trained, as in distillation.
  """
  given = "data={pipeline}/harvest,teacher={pipeline}/alignment_rl,logits=0.5"
  arms = {"distill": stage("distill")}
  arms["distill_logits"] = arm("distill", f"{STUDENT},{given}", "boxed")
  for rate in (3e-5, 1e-4, 3e-4):
    arms[f"rl_{rate:g}"] = zero(STUDENT, optimizer__learning_rate=rate, rl__rollouts=56)
  return arms


def cold_start() -> dict:
  """RL from the base and from the cold start's model: how soon is it right?

  With R1-Zero's recipe but for what the form of the cold start's answers needs, and with the
  recipe that its own stage has.
  """
  form = {"reward__mode": "boxed", "rl__limit": ((0, 136),), "grpo__max_tokens": 136}
  form |= {"batch__row_tokens": 256, "sampler__cache_tokens": 28_672, "rl__rollouts": 16}
  return {
    "base": stage("r1_zero"),
    "cold_start": arm("r1_zero", COLD, "boxed", **BOTH, **form),
    "cold_start_own": stage("reasoning_rl"),
  }


def preference() -> dict:
  """Preference rewards at the end of the last stage, from its first update on, and for twice as
  long (Figure 6)."""
  given = "tiny,model={pipeline}/sft,rewards={pipeline}/preference,seed={seed}"
  always = {"rl__mixture": ((0, 0.5),), "reward__schedules": ()}
  return {
    "last": stage("alignment_rl"),
    "always": arm("alignment_rl", given, "boxed", **always),
    "long": arm("alignment_rl", given, "boxed", **always, rl__rollouts=56),
  }


ABLATIONS = {
  made.__name__: made for made in (language, clip, reference, ppo, student, cold_start, preference)
}
