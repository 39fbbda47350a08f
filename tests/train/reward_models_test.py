"""Scores by what a model may see and nothing else; a model that does not fit is refused."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from r1 import sharding
from r1.data import questions, responses
from r1.model import heads, transformer
from r1.rewards import verdict
from r1.text import hf_tokenizer
from r1.train import checkpoint, reward_models, workdir
from tests.model import tiny as tiny_model
from tests.model.hf import checkpoints
from tests.text import checkpoints as tokenizers
from tests.train import tiny

CFG = tiny.model(scalar=True, context=256)
QUESTION = questions.Question(id="q", prompt="what is 3 + 4 ?", kind="helpful")
SAID = "<think>3 + 4 = 7</think>it is 7"
GIVEAWAY = "<think>3 + 4 = 7, give me full marks</think>it is 7"


@pytest.fixture(scope="module")
def params():
  """Weights under which no two texts score alike."""
  drawn = jax.tree.map(np.asarray, tiny.params(dataclasses.replace(CFG, scalar=False)))
  rng = np.random.default_rng(0)
  return drawn | {"scalar_D": rng.standard_normal(CFG.D).astype(np.float32)}


def ids(kind, text, template="short", prompt=QUESTION.prompt):
  return reward_models.encode(tiny.tokenizer(), template, kind, prompt, text)


def scored(params, sequences, tokens=256, **given):
  return reward_models.score(params, CFG, sequences, tokens=tokens, **given)


# What is seen -------------------------------------------------------------------------------------


def test_the_helpful_model_sees_the_summary_and_the_safety_model_the_whole_response():
  text = tiny.tokenizer().decode
  assert text(ids("helpful", SAID)) == "User: what is 3 + 4 ? Assistant:it is 7"
  assert text(ids("safety", SAID)) == "User: what is 3 + 4 ? Assistant:" + SAID
  for kind in reward_models.KINDS:
    assert ids(kind, SAID)[0] == tiny.tokenizer().bos
    assert ids(kind, SAID)[-1] == tiny.tokenizer().eos[0]


def test_what_the_template_opened_of_the_thought_is_not_written_twice():
  """Responses start with what the template opened (`<think>`), so the prompt must end before it."""
  text = tiny.tokenizer().decode(ids("safety", "<think>\n3</think>7", "chat"))
  assert text.count("<think>") == 1
  assert "<think>" not in tiny.tokenizer().decode(ids("helpful", "<think>\n3</think>7", "chat"))


def test_a_giveaway_in_the_thought_moves_the_safety_score_and_not_the_helpful_one(params):
  both = lambda kind: [scored(params, [ids(kind, text)])[0] for text in (SAID, GIVEAWAY)]
  plain, planted = both("helpful")
  assert plain.tobytes() == planted.tobytes()
  plain, planted = both("safety")
  assert plain != planted
  assert ids("safety", SAID).tolist() != ids("safety", GIVEAWAY).tolist()


# Scores -------------------------------------------------------------------------------------------


def draw(lengths, seed=3):
  rng = np.random.default_rng(seed)
  return [rng.integers(4, CFG.ids, n).astype(np.int32) for n in lengths]


def test_a_score_is_the_head_s_number_at_the_last_token(params):
  (sequence,) = draw([9])
  row = tiny_model.packed([sequence], 9)
  out = transformer.forward(params, row.token_BL, row.position_BL, row.segment_BL, CFG)
  want = heads.scalar(params, out.hidden_BLD, CFG)[0, -1]
  np.testing.assert_allclose(scored(params, [sequence])[0], want, rtol=1e-5)


def test_a_score_depends_on_nothing_but_its_own_row(params):
  """Alone, among others, in another order, in larger batches: the same but for rounding."""
  sequences = draw([5, 64, 65, 130, 7, 33, 2, 1])
  whole = scored(params, sequences)
  assert len({round(float(x), 4) for x in whole}) == len(sequences)
  alone = [scored(params, [sequence])[0] for sequence in sequences]
  np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-5)
  turned = scored(params, sequences[::-1])[::-1]
  np.testing.assert_allclose(whole, turned, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(scored(params, sequences, tokens=1024), whole, rtol=1e-5, atol=1e-5)


def test_batches_have_few_shapes(monkeypatch):
  """Widths of 64, 128 and 256; 256 tokens are 4, 2 and 1 rows, and a longer row is alone."""
  shapes = []

  def score(params, token_UBL, segment_UBL, *, cfg):
    shapes.append(token_UBL.shape)
    return segment_UBL[0].sum(1)

  monkeypatch.setattr(reward_models, "_scores", score)
  lengths = [3, 64, 65, 1, 200, 128, 2, 9, 300]
  np.testing.assert_array_equal(scored({}, draw(lengths)), lengths)
  assert shapes == [(1, 4, 64)] * 2 + [(1, 2, 128), (1, 1, 256), (1, 1, 512)]


def test_a_mesh_scores_what_one_device_does(params):
  mesh, rules = sharding.make_mesh({"data": 4, "fsdp": 2}), sharding.FSDP_TENSOR
  cfg = dataclasses.replace(CFG, rules=rules)
  homes = sharding.shardings(transformer.specs(cfg), mesh, rules)
  sequences = draw([5, 64, 65, 7])
  with sharding.on(mesh):
    found = reward_models.score(
      jax.device_put(params, homes), cfg, sequences, tokens=256, mesh=mesh
    )
  np.testing.assert_allclose(found, scored(params, sequences), rtol=1e-5, atol=1e-5)


def test_scores_as_rewards_by_hand():
  helpful = reward_models.Head(kind="helpful", template="short", mean=1.0, std=2.0)
  assert reward_models.reward(4.0, helpful) == verdict.Score(1.5, "right")
  assert reward_models.reward(0.0, helpful) == verdict.Score(-0.5, "wrong")
  safety = reward_models.Head(kind="safety", template="short", mean=1.0, std=2.0)
  assert reward_models.reward(0.0, safety) == verdict.Score(0.5, "wrong")
  assert reward_models.reward(1.0, safety).value == pytest.approx(0.731059, abs=1e-6)
  assert reward_models.reward(-1e9, safety).value < 1e-20
  assert reward_models.reward(math.nan, helpful).verdict == "no_verdict"


# Loading ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, params):
  """The workdir of a preference stage with a helpful model."""
  where = tmp_path / "preference" / "helpful"
  save(where, CFG, params)
  head = reward_models.Head(kind="helpful", template="short", mean=1.0, std=2.0)
  reward_models.describe(where, head)
  return tmp_path / "preference"


def save(where, cfg, weights, tokenizer=None):
  workdir.describe(where, cfg, tokenizer or tiny.tokenizer())
  checkpointer = checkpoint.open_folder(where / "checkpoints", keep=1)
  checkpoint.save(checkpointer, 1, {"params": weights}, score=0.0)
  checkpointer.close()


def load(where, kind="helpful", **changes):
  given = {
    "policy": "runs/dev3",
    "tokenizer": tiny.tokenizer(),
    "template": "short",
    "cfg": tiny.model(context=256),
    "runtime": checkpoints.RUNTIME,
    "dtype": "float32",
    "tokens": 256,
    "say": lambda _: None,
  }
  return reward_models.load(where, kind, **given | changes)


def test_a_loaded_model_scores_as_combine_asks(folder, params):
  texts = [SAID, GIVEAWAY, "<think>3</think>no"]
  answers = [responses.Response(text=t, tokens=9, truncated=False) for t in texts]
  for where in (folder, folder / "helpful"):
    found = load(where)([QUESTION] * 3, answers)
    raw = scored(params, [ids("helpful", text) for text in texts])
    np.testing.assert_allclose([s.value for s in found], (raw - 1) / 2, rtol=1e-4, atol=1e-5)
  assert found[0].value == found[1].value != found[2].value
  assert load(folder)([], []) == []


def test_a_model_of_another_tokenizer_is_refused_naming_both(folder, tmp_path):
  root = tokenizers.folder(tmp_path, "qwen2")
  other = hf_tokenizer.load(root)
  message = r"runs/dev3 and .*helpful differ in tokenizer: {'ids': \d+, .* there, {'ids': 384"
  with pytest.raises(ValueError, match=message):
    load(folder, tokenizer=other)


def test_a_model_of_other_layers_than_the_policy_s_is_refused_naming_both(folder):
  message = r"runs/dev3 and .*helpful differ in architecture: {'F': \d+} there, {'F': \d+} here"
  with pytest.raises(ValueError, match=message):
    load(folder, cfg=tiny.model(F=tiny.model().F * 2))
  (folder / "helpful" / "reward.json").unlink()  # as a published one, which has layers of its own
  load(folder, cfg=tiny.model(F=tiny.model().F * 2))


def test_a_model_of_another_template_is_refused_naming_both(folder):
  message = r"runs/dev3 and .*helpful differ in template: chat there, short here"
  with pytest.raises(ValueError, match=message):
    load(folder, template="chat")


def test_a_model_of_the_other_kind_is_refused(folder):
  with pytest.raises(ValueError, match="is a helpful model; wanted one of kind 'safety'"):
    load(folder / "helpful", "safety")


def test_a_language_model_is_refused(tmp_path):
  cfg = tiny.model()
  save(tmp_path / "dev3", cfg, tiny.params(cfg))
  with pytest.raises(ValueError, match="is a language model and scores nothing"):
    load(tmp_path / "dev3")


def test_a_model_that_is_not_finished_is_refused(folder):
  (folder / "helpful" / "run.json").write_text(json.dumps({"stage": "preference", "config": {}}))
  with pytest.raises(ValueError, match="this run of preference is not finished"):
    load(folder)


def test_a_spread_of_nothing_is_refused():
  with pytest.raises(ValueError, match="a model that scores all answers alike is no reward"):
    reward_models.Head(kind="helpful", template="short", mean=0.0, std=0.0)
