"""Parts are weighted and reported one by one; our faults mask a sample and never score it."""

import dataclasses
import math
import time

import pytest

from r1.data import questions, responses
from r1.rewards import accuracy, combine, verdict
from tests.rewards import settings

CONFIG = combine.RewardConfig(
  accuracy=1.0,
  format=0.1,
  language=0.3,
  helpful=0.0,
  safety=0.0,
  mode="answer_tag",
  languages=(),
  shaping=settings.OFF,
  own=(),
  general=(),
  schedules=(),
)
RIGHT = "<think>so then 所以对</think><answer>8</answer>"  # accuracy 1, format 1, language .4
WRONG = "<think>so</think><answer>9</answer>"  # 0, 1, 1
BARE = "so 8"  # 0, 0, 0


def question(answer="8", language="en", kind="maths"):
  return questions.Question(id="3+5", prompt="?", answer=answer, language=language, kind=kind)


def response(text, truncated=False):
  return responses.Response(text=text, tokens=9, truncated=truncated)


@pytest.fixture(scope="module", autouse=True)
def _verifiers(verifier):
  VERIFIERS["answer_tag"] = verifier
  with accuracy.Verifier(settings.verifier("boxed")) as boxed:
    VERIFIERS["boxed"] = boxed
    yield


VERIFIERS = {}


def combined(texts, cfg=CONFIG, asked=None, step=0, models=None):
  asked = asked if isinstance(asked, list) else [asked or question()] * len(texts)
  given = cfg, VERIFIERS[cfg.mode], step, models or {}
  return combine.combine(asked, [response(t) for t in texts], *given)


def fifth_of_length(question, response):
  return len(response.text) / 5


def fails_on_nine(question, response):
  if "9" in response.text:
    raise ConnectionError("judge lost")
  return True


def abstains(question, response):
  return None


def not_a_number(question, response):
  return math.nan


def half(question, response):
  return verdict.Score(0.5, "timeout")


def own(*pairs, **weights):
  named = tuple((f"{__name__}:{function.__name__}", weight) for function, weight in pairs)
  return dataclasses.replace(CONFIG, own=named, **weights)


def test_the_total_is_the_weighted_sum_of_the_parts():
  rewards = combined([RIGHT, WRONG, BARE])
  assert rewards.parts["accuracy"] == [1, 0, 0]
  assert rewards.parts["format"] == [1, 1, 0]
  assert rewards.parts["language"] == pytest.approx([0.4, 1, 0])
  # 1 + .1 + .3 * .4, .1 + .3, 0
  assert rewards.total == pytest.approx([1.22, 0.4, 0.0])
  assert rewards.verdicts == ["right", "wrong", "unparsed"]
  assert rewards.valid == [True] * 3
  assert rewards.errors == []


def test_a_weight_of_zero_still_reports_its_part():
  rewards = combined([RIGHT], dataclasses.replace(CONFIG, language=0.0))
  assert rewards.parts["language"] == pytest.approx([0.4])
  assert rewards.total == pytest.approx([1.1])


def test_the_box_of_the_chat_format_is_scored_in_its_mode():
  cfg = dataclasses.replace(CONFIG, mode="boxed")
  rewards = combined(["<think>\nso</think>It is \\boxed{8}.", RIGHT], cfg)
  assert rewards.verdicts == ["right", "unparsed"]
  assert rewards.parts["format"] == [1, 1]


def test_a_gold_answer_that_does_not_parse_masks_the_sample():
  rewards = combined([RIGHT], asked=question(answer="\\frac{1}{"))
  assert (rewards.total, rewards.valid, rewards.verdicts) == ([0.0], [False], ["no_verdict"])
  assert rewards.errors == [
    "accuracy on question '3+5': the verifier of kind 'maths' was lost, or cannot read "
    "'\\\\frac{1}{'"
  ]


def test_a_part_without_weight_masks_nothing():
  rewards = combined([RIGHT], asked=question(language="tlh"))
  assert rewards.valid == [False]
  rewards = combined([RIGHT], dataclasses.replace(CONFIG, language=0.0), question(language="tlh"))
  assert rewards.valid == [True]
  assert rewards.total == pytest.approx([1.1])
  assert rewards.errors == ["language on question '3+5': no script known for language 'tlh'"]


def test_a_weight_follows_its_schedule():
  """Preference rewards act in the last 400 of 1,700 steps only (arXiv 2501.12948v2 B.4.1)."""
  late = (("language", ((0, 0.0), (1300, 1.0))),)
  cfg = dataclasses.replace(CONFIG, schedules=late)
  assert combined([RIGHT], cfg, step=1299).total == pytest.approx([1.1])
  assert combined([RIGHT], cfg, step=1300).total == pytest.approx([1.22])
  assert combined([RIGHT], cfg, step=0).parts["language"] == pytest.approx([0.4])


def test_a_general_prompt_has_its_preference_reward_in_place_of_accuracy():
  """R = R_reasoning + R_general + R_language, each where it has a say (eq. 8-10)."""
  cfg = dataclasses.replace(CONFIG, general=((f"{__name__}:half", 2.0),))
  general = combined([RIGHT], cfg, question(kind="helpful", answer=None))
  # 2 * .5 + .1 + .3 * .4
  assert general.total == pytest.approx([1.22])
  assert general.parts["accuracy"] == [None]
  assert general.verdicts == ["timeout"]
  ruled = combined([RIGHT], cfg)
  assert ruled.total == pytest.approx([1.22])
  assert ruled.parts[f"{__name__}:half"] == [None]
  assert ruled.verdicts == ["right"]
  assert "reward/accuracy" not in combine.metrics(general)


def test_shaping_is_off_unless_it_has_a_weight():
  assert set(combined([RIGHT]).parts) == {"accuracy", "format", "language"}
  on = dataclasses.replace(CONFIG, shaping=dataclasses.replace(settings.OFF, repetition=0.5))
  text = "<think>so so so so so so so</think><answer>8</answer>"
  plain, shaped = combined([text]), combined([text], on)
  assert shaped.parts["repetition"][0] < 0
  assert shaped.total[0] == pytest.approx(plain.total[0] + 0.5 * shaped.parts["repetition"][0])


def test_languages_of_one_script_are_told_apart_where_they_are_named():
  french = "je pense que la réponse est donc huit et pas autre chose du tout"
  text = f"<think>{french}</think><answer>8</answer>"
  assert combined([text]).parts["language"] == [1.0]
  named = dataclasses.replace(CONFIG, languages=("en", "fr"))
  assert combined([text], named).parts["language"][0] < 0.5


def constant(value, kinds, said="right"):
  """A reward model that writes down the kinds of question that it is asked about."""

  def score(asked, answers):
    kinds.extend(q.kind for q in asked)
    return [verdict.Score(value, said)] * len(answers)

  return score


MIXED = [
  question(),
  question(kind="helpful", answer=None),
  question(kind="safety", answer=None),
  question(kind="helpful", answer=None),
]


def test_each_general_prompt_is_scored_by_the_reward_model_of_its_kind_alone():
  seen = {"helpful": [], "safety": []}
  models = {"helpful": constant(-3.0, seen["helpful"]), "safety": constant(0.5, seen["safety"])}
  cfg = dataclasses.replace(CONFIG, helpful=0.25, safety=2.0)
  rewards = combined([RIGHT, RIGHT, WRONG, BARE], cfg, MIXED, models=models)
  assert seen == {"helpful": ["helpful", "helpful"], "safety": ["safety"]}
  assert rewards.parts["helpful"] == [None, -3, None, -3]
  assert rewards.parts["safety"] == [None, None, 0.5, None]
  assert rewards.parts["accuracy"] == [1, None, None, None]
  # Eq. 8-10: 1 + .1 + .12; .25 * -3 + .1 + .12; 2 * .5 + .1 + .3; .25 * -3 and no format.
  assert rewards.total == pytest.approx([1.22, -0.53, 1.4, -0.75])
  assert rewards.valid == [True] * 4
  assert rewards.verdicts == ["right"] * 4


def test_a_reward_model_is_asked_from_its_first_update_on():
  seen = []
  late = (("helpful", ((0, 0.0), (1300, 1.0))),)
  cfg = dataclasses.replace(CONFIG, helpful=1.0, schedules=late)
  asked, models = question(kind="helpful", answer=None), {"helpful": constant(1.0, seen)}
  before = combined([RIGHT], cfg, asked, step=1299, models=models)
  assert seen == []
  assert "helpful" not in before.parts
  assert before.total == pytest.approx([0.22])
  assert combined([RIGHT], cfg, asked, step=1300, models=models).total == pytest.approx([1.22])


def test_a_reward_model_without_a_verdict_masks_its_sample():
  cfg = dataclasses.replace(CONFIG, helpful=1.0)
  models = {"helpful": constant(1.0, [], "no_verdict")}
  rewards = combined([RIGHT] * 2, cfg, MIXED[:2], models=models)
  assert rewards.valid == [True, False]
  assert rewards.total == pytest.approx([1.22, 0])
  assert rewards.errors == ["helpful on question '3+5': the grader gave no verdict"]


def test_a_weight_without_its_reward_model_is_refused():
  cfg = dataclasses.replace(CONFIG, safety=1.0)
  with pytest.raises(ValueError, match=r"reward 'safety' has a weight .* there are \['helpful'\]"):
    combined([RIGHT], cfg, models={"helpful": constant(1.0, [])})


def test_general_prompts_can_be_learned_from_where_their_model_has_a_weight():
  asked = [question(kind="helpful", answer=None), question(kind="safety", answer=None)]
  asked[1] = dataclasses.replace(asked[1], id="s")
  cfg = dataclasses.replace(CONFIG, helpful=1.0)
  kept, faults = combine.gradable(asked, cfg, VERIFIERS["answer_tag"])
  assert kept == asked[:1]
  assert faults == {"s": "kind 'safety' needs a reward model: give `safety` a weight"}


def test_questions_that_can_never_be_graded_are_found_before_training():
  make = lambda name, **fields: questions.Question(id=name, prompt="?", **fields)
  asked = [
    make("good", answer="8"),
    make("broken", answer="\\frac{1}{"),
    make("letter", answer="B", kind="choice"),
    make("klingon", answer="8", language="tlh"),
    make("chat", kind="helpful"),
  ]
  kept, faults = combine.gradable(asked, CONFIG, VERIFIERS["answer_tag"])
  assert [question.id for question in kept] == ["good", "letter"]
  assert set(faults) == {"broken", "klingon", "chat"}
  assert "no mathematics" in faults["broken"]
  assert "reward model" in faults["chat"]


def test_own_rewards_are_weighted_and_named():
  cfg = own((fifth_of_length, -0.5), (half, 2.0), accuracy=0.0, format=0.0, language=0.0)
  rewards = combined(["12345", "1234567890"], cfg)
  # -.5 * 1 + 2 * .5, -.5 * 2 + 2 * .5
  assert rewards.total == pytest.approx([0.5, 0.0])
  assert rewards.parts[f"{__name__}:half"] == [0.5, 0.5]


def test_an_own_reward_that_raises_masks_its_samples_only():
  """A crash of a grader is our fault: never a silent 0 (verl #5635)."""
  rewards = combined([RIGHT, WRONG], own((fails_on_nine, 1.0)))
  assert rewards.valid == [True, False]
  assert rewards.verdicts == ["right", "no_verdict"]
  assert rewards.total == pytest.approx([2.22, 0.0])
  assert rewards.errors == [
    f"{__name__}:fails_on_nine on question '3+5': ConnectionError: judge lost"
  ]


@pytest.mark.parametrize("function", [abstains, not_a_number])
def test_an_own_reward_without_a_number_gives_no_verdict(function):
  rewards = combined([RIGHT], own((function, 1.0)))
  assert rewards.valid == [False]
  assert len(rewards.errors) == 1


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("math.sqrt", "write it as 'package.module:function'"),
    (":f", "write it as"),
    ("math:", "write it as"),
    ("no_such_package.rewards:f", "cannot import 'no_such_package.rewards'"),
    ("math:no_such", "module 'math' has no function 'no_such'"),
    ("math:pi", "module 'math' has no function 'pi'"),
  ],
)
def test_a_reward_that_cannot_be_found_is_refused_with_the_half_that_is_wrong(path, message):
  with pytest.raises(ValueError, match=message):
    combine.resolve(path)


def test_a_path_is_resolved_to_its_function():
  assert combine.resolve("math:sqrt") is math.sqrt


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"mode": "free"}, "use one of answer_tag, boxed"),
    ({"accuracy": math.nan}, "weight nan of reward 'accuracy'"),
    ({"own": (("m:f", 1.0), ("m:f", 2.0))}, "name each once"),
    ({"own": (("format", 1.0),)}, "name each once"),
    ({"own": (("overlong", 1.0),)}, "name each once"),
    ({"own": (("m:f", 1.0),), "general": (("m:f", 1.0),)}, "name each once"),
    ({"schedules": (("brevity", ((0, 1.0),)),)}, "a schedule for reward 'brevity'"),
    ({"schedules": (("format", ((5, 1.0),)),)}, "schedule of format"),
  ],
)
def test_a_config_that_cannot_work_is_refused(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(CONFIG, **change)


def test_one_question_is_needed_for_each_response():
  with pytest.raises(ValueError, match="1 questions and 2 responses"):
    combine.combine([question()], [response(RIGHT)] * 2, CONFIG, VERIFIERS["answer_tag"], 0, {})


def test_means_leave_out_the_samples_without_a_verdict():
  rewards = combined([RIGHT, WRONG, WRONG, BARE], own((fails_on_nine, 0.5)))
  # Valid: RIGHT 1.22 + .5, BARE 0 + .5; the language of RIGHT is .4.
  assert combine.metrics(rewards) == pytest.approx(
    {
      "reward/total": 1.11,
      "reward/accuracy": 0.5,
      "reward/format": 0.5,
      "reward/language": 0.2,
      f"reward/{__name__}:fails_on_nine": 1.0,
      "verdict/right": 0.25,
      "verdict/wrong": 0.0,
      "verdict/unparsed": 0.25,
      "verdict/timeout": 0.0,
      "verdict/crashed": 0.0,
      "verdict/no_verdict": 0.5,
    }
  )


def test_means_over_nothing_are_left_out():
  names = set(combine.metrics(combined([RIGHT], asked=question(answer="\\frac{1}{"))))
  assert names == {f"verdict/{name}" for name in verdict.VERDICTS}
  assert combine.metrics(combined([])) == {}


def test_scoring_is_fast_beside_sampling():
  """128 responses of about 100 words: 9 ms on one slow core; the bound leaves room for noise."""
  thought = "first 3 + 9 = 12，检查 3 + 9 = 12 对, " * 7
  texts = [f"<think>{thought}so 8</think><answer>8</answer>"] * 128
  best = math.inf
  for _ in range(5):
    start = time.perf_counter()
    rewards = combined(texts)
    best = min(best, time.perf_counter() - start)
  assert rewards.verdicts == ["right"] * 128
  assert best < 0.1
