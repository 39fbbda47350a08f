"""One GRPO iteration on the host: whole groups, then the shuffle; identities of the first step."""

import dataclasses

import jax
import numpy as np
import pytest

from r1 import spec
from r1.algorithms import experts, grpo, logp, minibatch
from r1.data import packing, questions
from r1.model import presets, transformer
from r1.rewards import combine
from r1.text import templates
from r1.train import optimizer, rl, state, step
from tests.model import tiny as tiny_model
from tests.sampling import settings
from tests.train import tiny

CFG = tiny.model()
RL = {
  "seed": 0,
  "rollouts": 3,
  "questions_per_rollout": 4,
  "template": "short",
  "limit": ((0, 24),),
  "temperature": ((0, 1.0),),
  "mixture": ((0, 0.0),),
  "partial_tokens": 0,
  "top_k": 0,
  "top_p": 1.0,
  "min_p": 0.0,
  "reference_every": 0,
  "checkpoint_every": 1,
  "keep": 1,
  "canaries_every": 1,
  "patience": 2,
}


def rl_config(**changes):
  return rl.RlConfig(**(RL | changes))


def rewarded(totals, valid=None):
  valid = [True] * len(totals) if valid is None else list(valid)
  return combine.Rewards(
    total=[float(t) if ok else 0.0 for t, ok in zip(totals, valid)],
    parts={"accuracy": list(map(float, totals))},
    verdicts=["right" if t else "wrong" for t in totals],
    valid=valid,
    errors=[],
  )


def prepare(samples, rewards, cfg, *, weights=None, ref=None, temperature=1.0, minibatches=2):
  weights = tiny.params(CFG) if weights is None else weights
  return rl.prepare(
    samples,
    rewards,
    weights,
    weights if ref is None else ref,
    model_cfg=CFG,
    batch=tiny.batch_config(minibatches=minibatches),
    cfg=cfg,
    temperature=temperature,
  )


def score(weights, samples, temperature):
  numbers = tiny.question_numbers(samples)
  return minibatch.score(
    weights, samples, CFG, tiny.batch_config(), temperature, question_B=numbers
  )


def all_steps(scored, cfg, minibatches=2, seed=0, mixture=experts.OFF):
  batch = tiny.batch_config(minibatches=minibatches)
  rng = np.random.default_rng(seed)
  return list(rl.steps(scored, batch=batch, cfg=cfg, mixture=mixture, rng=rng, microbatches=8))


# Groups and the shuffle ----------------------------------------------------------------------


def test_advantages_are_of_whole_groups_before_the_shuffle():
  """arXiv 2501.12948 shuffles 8,192 answers of 512 groups into 16 steps; here 8 of 2 into 2.

  Group 0: rewards 1, 0, 0, 0, mean 1/4, population deviation sqrt(3)/4: 1.7321 and -.5774.
  Group 1: rewards 1, 1, 1, 0: .5774 and -1.7321.
  """
  cfg = tiny.grpo_config(std="population", std_eps=0.0)
  samples = [tiny.sample(None, i % 4, [3, 3] + [10 + i] * (i + 1), 2) for i in range(8)]
  scored = prepare(samples, rewarded([1, 0, 0, 0, 1, 1, 1, 0]), cfg)
  wanted = np.array([3, -1, -1, -1, 1, 1, 1, -3]) / 3**0.5
  np.testing.assert_allclose(scored.advantage_B, wanted, rtol=1e-6)
  steps = all_steps(scored, cfg)
  owners = [np.asarray(b.target_BL)[np.asarray(b.weight_BL) > 0] - 10 for b, _ in steps]
  for (batch, _), owner in zip(steps, owners):
    live = np.asarray(batch.weight_BL) > 0
    np.testing.assert_allclose(np.asarray(batch.advantage_BL)[live], wanted[owner], rtol=1e-6)
  assert sorted(np.concatenate(owners)) == sorted(i for i in range(8) for _ in range(i + 1))
  assert any(set(owner // 4) == {0, 1} for owner in owners), "the shuffle breaks groups up"


def test_groups_are_by_index_not_by_text():
  """GRPO-Zero merges groups whose prompts read the same; every prompt of these samples does."""
  samples = tiny.random_samples(8)
  assert len({s.question.prompt for s in samples}) == 1
  scored = prepare(samples, rewarded([1, 1, 1, 1, 0, 0, 0, 0]), tiny.grpo_config())
  assert not scored.advantage_B.any(), "each group is of equal rewards"


def test_a_sample_without_verdict_is_neither_in_the_loss_nor_in_the_baseline():
  """OpenRLHF #1239. Rewards 1, 0 and an unknown third: mean 1/2, not 1/3, and advantages +-1."""
  cfg = tiny.grpo_config(group=3, std="population", std_eps=0.0)
  samples = tiny.random_samples(3, group=3)
  scored = prepare(samples, rewarded([1, 0, 0], [True, True, False]), cfg)
  np.testing.assert_allclose(scored.advantage_B, [1, -1, 0], rtol=1e-6)
  ((batch, _),) = all_steps(scored, cfg, minibatches=1)
  live = np.asarray(batch.weight_BL) > 0
  assert live.sum() == samples[0].length + samples[1].length
  assert set(batch.advantage_BL[live]) == {1, -1}
  assert batch.weight_BL[live].sum() == pytest.approx(1)


def test_a_truncated_answer_is_masked_when_the_policy_says_so():
  samples = tiny.random_samples(4)
  samples[1] = dataclasses.replace(
    samples[1], response=dataclasses.replace(samples[1].response, truncated=True)
  )
  for policy, counted in (("keep", [1, 1, 1, 1]), ("mask", [1, 0, 1, 1])):
    scored = prepare(samples, rewarded([1, 0, 0, 1]), tiny.grpo_config(truncated=policy))
    assert scored.counted_B.tolist() == counted


def test_the_weights_of_one_step_add_to_one_whatever_the_micro_batches():
  cfg = tiny.grpo_config(normalise="token")
  scored = prepare(tiny.random_samples(16), rewarded([1, 0] * 8), cfg)
  for batch, used in all_steps(scored, cfg, minibatches=4):
    assert used >= 1
    assert batch.weight_BL.sum() == pytest.approx(1, rel=1e-5)


def test_every_sample_is_learned_from_once_and_the_order_follows_the_seed():
  cfg = tiny.grpo_config()
  samples = tiny.random_samples(16)
  scored = prepare(samples, rewarded(np.arange(16)), cfg)
  orders = []
  for seed in (0, 0, 1):
    made = [np.asarray(b.advantage_BL)[b.weight_BL > 0] for b, _ in all_steps(scored, cfg, 4, seed)]
    orders.append(made)
    assert sum(map(len, made)) == sum(s.length for s in samples)
  assert all(np.array_equal(a, b) for a, b in zip(orders[0], orders[1]))
  assert not all(np.array_equal(a, b) for a, b in zip(orders[0], orders[2]))


# Identities ------------------------------------------------------------------------------------


def test_the_same_program_on_the_same_rows_gives_a_ratio_of_one_and_a_kl_of_zero_exactly():
  weights, samples = tiny.params(CFG), tiny.random_samples(6)
  lengths = [len(s.tokens) for s in samples]
  placement = packing.place(lengths, 64)
  row = packing.fill(minibatch.sequences(samples), placement, 64, None)
  old_BL, new_BL = (logp.score(weights, row, CFG, 0.7) for _ in range(2))
  batch = grpo.GrpoBatch(
    **{name: x for name, x in vars(row).items() if name != "scored_BL"},
    weight_BL=row.scored_BL.astype(np.float32),
    advantage_BL=np.ones(row.token_BL.shape, np.float32),
    old_logp_BL=old_BL,
    ref_logp_BL=old_BL,
    sampler_logp_BL=old_BL,
  )
  value, total = grpo.loss(new_BL, np.zeros_like(old_BL), batch, tiny.grpo_config(kl=0.5))
  metrics = grpo.summary(value, total)
  assert metrics["policy/ratio_gap"] == 0
  assert metrics["policy/ratio_max"] == 1
  assert metrics["policy/kl"] == 0
  assert metrics["policy/clip_fraction"] == 0
  assert float(value) == -row.scored_BL.sum(), "the gain is the advantage, 1 at every token"


@pytest.fixture(scope="module")
def rollout():
  """(weights, scored, batches, metrics of each update, weights after) at a temperature of .8."""
  weights = tiny.params(CFG)
  samples = tiny.drawn(weights, CFG, temperature=0.8)
  rewards = rewarded([i % 2 for i in range(len(samples))])
  cfg = tiny.grpo_config(kl=0.1, clip_low=1e-4, clip_high=1e-4)
  scored = prepare(samples, rewards, cfg, weights=weights, temperature=0.8)
  tx = optimizer.make(tiny.adam(), transformer.specs(CFG))
  update = jax.jit(step.make_update(rl.make_loss(CFG, cfg, experts.OFF), tx))
  made, found = state.init(weights, tx), []
  for batch, used in all_steps(scored, cfg):
    made, metrics = update(made, (batch, np.full(8, 0.8, np.float32)), used)
    found.append({name: float(x) for name, x in metrics.items()})
  return weights, scored, found, made.params


def test_the_first_update_is_on_policy_and_the_second_is_not(rollout):
  """EasyDeL never had old log-probabilities, so its ratio was always 1 and nothing was clipped."""
  first, second = rollout[2]
  assert first["policy/ratio_gap"] < 1e-5
  assert first["policy/kl"] < 1e-9
  assert first["policy/clip_fraction"] == 0
  assert second["policy/ratio_gap"] > 1e-5
  assert second["policy/kl"] > 1e-9
  assert second["policy/clip_fraction"] > 0


def test_old_log_probabilities_are_those_of_the_weights_that_sampled(rollout):
  """verl #7495: weights that never arrive; here the sampler's own numbers bear witness."""
  _, scored, _, after = rollout
  stale = score(after, scored.samples, 0.8)
  for s, old, late in zip(scored.samples, scored.old, stale):
    np.testing.assert_allclose(old[s.prompt_length :], s.logp, atol=1e-5)
    assert np.abs(late[s.prompt_length :] - s.logp).max() > 1e-3
  assert rl.rollout_metrics(scored, tiny.grpo_config())["sampler/logp_gap"] < 1e-5


def test_the_share_of_accepted_drafts_is_logged_where_there_are_drafts(rollout):
  _, scored, _, _ = rollout
  cfg = tiny.grpo_config()
  assert "sampler/accepted" not in rl.rollout_metrics(scored, cfg)
  samples = [
    dataclasses.replace(s, drafted=8, accepted=i % 2) for i, s in enumerate(scored.samples)
  ]
  scored = dataclasses.replace(scored, samples=samples)
  assert rl.rollout_metrics(scored, cfg)["sampler/accepted"] == 1 / 16


def test_the_temperature_belongs_to_old_new_and_reference_alike(rollout):
  """TRL #3029: scored at another temperature, the sampler's numbers are not met."""
  weights, scored, _, _ = rollout
  other = score(weights, scored.samples, 1.0)
  gaps = [np.abs(o[s.prompt_length :] - s.logp).max() for s, o in zip(scored.samples, other)]
  assert max(gaps) > 1e-3
  assert all(np.array_equal(a, b) for a, b in zip(scored.old, scored.ref))


def test_without_kl_the_reference_is_not_run():
  samples = tiny.random_samples(4)
  scored = prepare(samples, rewarded([1, 0, 0, 1]), tiny.grpo_config(kl=0.0), ref={"no": "weights"})
  assert scored.ref is None
  ((batch, _), _) = all_steps(scored, tiny.grpo_config(kl=0.0))
  assert batch.ref_logp_BL is None


def test_the_reference_is_scored_with_weights_of_its_own():
  samples, ref = tiny.random_samples(4), tiny.params(CFG, seed=7)
  scored = prepare(samples, rewarded([1, 0, 0, 1]), tiny.grpo_config(kl=0.1), ref=ref)
  wanted = score(ref, samples, 1.0)
  assert all(np.array_equal(a, b) for a, b in zip(scored.ref, wanted))
  assert not np.array_equal(scored.ref[0], scored.old[0])


# Room ------------------------------------------------------------------------------------------


def longest(prompts, context=64, evaluation=24, limit=((0, 8), (4, 24))):
  asked = [questions.Question(id=f"q{i}", prompt=p, answer="1") for i, p in enumerate(prompts)]
  cfg, sizes = rl_config(limit=limit), {"context": context, "evaluation": evaluation}
  return rl.longest(asked, tiny.tokenizer(), cfg, tiny.batch_config(), **sizes)


def test_the_longest_sequence_is_the_longest_prompt_with_the_longest_answer_of_the_schedule():
  texts = ["1 + 2 ?", "1 + 2 + 3 + 4 ?"]
  prompt = len(templates.encode(tiny.tokenizer(), "short", texts[1]))
  assert longest(texts) == longest(texts[::-1]) == prompt + 24
  # To the token: what fits the context, the row of 64, and the context of evaluation.
  assert longest(texts, context=prompt + 24) == prompt + 24
  for changes in (
    {"context": prompt + 23},
    {"limit": ((0, 65 - prompt),)},
    {"evaluation": 65 - prompt},
  ):
    with pytest.raises(ValueError, match=f"question 'q1' has {prompt} tokens, {prompt - 1} fit"):
      longest(texts, **changes)


def test_answers_that_leave_no_room_at_all_are_told_by_their_settings():
  with pytest.raises(ValueError, match=r"0 fit: answers of 80 \(rl.limit\) share context=64"):
    longest(["1 + 2 ?"], limit=((0, 80),))


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"top_p": 0.95}, "top_k=0, top_p=0.95, min_p=0.0: the sampler would renormalise"),
    ({"top_k": 20}, "top_k=20, top_p=1.0, min_p=0.0: the sampler would renormalise"),
    ({"min_p": 0.1}, "top_k=0, top_p=1.0, min_p=0.1: the sampler would renormalise"),
    ({"temperature": ((0, 1.0), (9, 0.0))}, "training needs samples, so above 0"),
    ({"limit": ((5, 24),)}, "limit="),
    ({"partial_tokens": -1}, "partial_tokens=-1 must be >= 0"),
    ({"keep": 0}, "keep=0 must be >= 1"),
    ({"rollouts": 0}, "rollouts=0 must be >= 1"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    rl_config(**changes)


def check(changes, algorithm, minibatches=2, **sampler):
  rl.check(
    rl_config(**changes),
    tiny.grpo_config(**algorithm),
    tiny.batch_config(minibatches=minibatches),
    settings.sampler(**sampler),
    evaluation=24,
    mesh={"data": 1},
  )


@pytest.mark.parametrize(
  ("changes", "algorithm", "minibatches", "message"),
  [
    ({}, {}, 3, "16 samples do not divide into minibatches=3"),
    ({"reference_every": 3}, {}, 2, "reference_every=3 must be a multiple of minibatches=2"),
    ({"limit": ((0, 24), (8, 48))}, {}, 2, "max_tokens=24 is below the limit of 48 tokens"),
  ],
)
def test_sections_that_do_not_fit_each_other_are_refused(changes, algorithm, minibatches, message):
  with pytest.raises(ValueError, match=message):
    check(changes, algorithm, minibatches)


# Records ------------------------------------------------------------------------------------------


def test_the_metrics_of_a_rollout_are_means_over_its_samples():
  samples = [tiny.sample(None, i, np.arange(4 + n), 2) for i, n in enumerate((1, 3, 5, 7))]
  scored = rl.Scored(
    samples=samples,
    rewards=rewarded([1, 0, 0, 0]),
    advantage_B=np.array([0.0, 0.0, 1.0, -1.0]),
    counted_B=np.ones(4, bool),
    old=[np.full(len(s.tokens), 0.25 * i) for i, s in enumerate(samples)],
    ref=[],
  )
  found = rl.rollout_metrics(scored, tiny.grpo_config(group=2))
  assert found["response/length"] == (3 + 5 + 7 + 9) / 4
  assert found["response/truncated"] == 0
  assert found["sampler/logp_gap"] == 0.75  # the samples' own are 0
  assert found["group/informative"] == 0.5  # the second of two groups
  assert found["reward/accuracy"] == 0.25


def test_throughput_divides_tokens_by_their_seconds():
  seconds = {"time/sample_s": 5.0, "time/update_s": 2.0}
  found = rl.throughput(30, 36, seconds, CFG, rate=1e9)
  assert found["throughput/sample_tokens_per_s"] == 30 / 5
  assert found["throughput/train_tokens_per_s"] == 36 / 2
  # norms 3D, tied table VD, q and o DHK, k and v DNK, biases (H + 2N)K, three of DF.
  count = 3 * 16 + 384 * 16 + 2 * 16 * 4 * 8 + 2 * 16 * 2 * 8 + 8 * 8 + 3 * 16 * 32
  assert found["throughput/mfu"] == pytest.approx(6 * count * 36 / 2.0 / 1e9)
  # Of a mixture, what a token does not meet is no work: 6 of 8 experts of three 64 x 24 matrices
  # in the one mixture layer, and the table, which is only looked up.
  mixture = presets.config("tiny-deepseek-v3", tiny_model.RUNTIME, mtp=False)
  count = spec.count(transformer.specs(mixture)) - 6 * 3 * 64 * 24 - mixture.V * 64
  found = rl.throughput(30, 36, seconds, mixture, rate=1e9)
  assert found["throughput/mfu"] == pytest.approx(6 * count * 36 / 2.0 / 1e9)


def test_a_line_of_samples_jsonl_tells_the_whole_story_of_a_sample():
  cfg = tiny.grpo_config()
  samples = tiny.drawn(tiny.params(CFG), CFG, count=1)
  scored = prepare(samples, rewarded([1, 0, 0, 0]), cfg)
  first, *rest = rl.records(scored, 7)
  assert len(rest) == 3
  assert first["step"] == 7
  assert (first["id"], first["sample"]) == (samples[0].question.id, 0)
  assert (first["prompt"], first["answer"]) == (
    samples[0].question.prompt,
    samples[0].question.answer,
  )
  assert first["response"] == samples[0].response.text
  assert first["tokens"] == samples[0].length
  assert (first["reward"], first["verdict"], first["parts"]) == (1.0, "right", {"accuracy": 1.0})
  assert first["advantage"] == pytest.approx(float(scored.advantage_B[0]))
