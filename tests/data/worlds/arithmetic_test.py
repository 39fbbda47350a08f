"""The world of small sums: its splits, its text and its shares."""

import collections
import dataclasses
import itertools
import random
import re

import pytest

from r1.data.worlds import arithmetic
from r1.text import templates
from r1.text import tokenizer as tokenizers

WORLD = arithmetic.World(
  terms=((5, 0.5), (6, 0.5)),
  operands=(2, 9),
  test_share=0.1,
  languages=(0.55, 0.2, 0.1, 0.15),
  switching_english=2 / 3,
  behaviour_en=(0.6, 0.2, 0.2),
  behaviour_zh=(0.4, 0.2, 0.4),
  behaviour_switching=(0.2, 0.2, 0.6),
  slip=0.15,
  slip_switching=0.1,
  direct_ok=0.3,
  malformed=0.25,
  worked=0.2,
)
STEP = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")
FORMED = re.compile(r"<think>([^<]+)</think><answer>(\d+)</answer>")


def changed(**fields):
  return dataclasses.replace(WORLD, **fields)


def only(behaviour, **fields):
  """A world of one behaviour, well formed, English unless told."""
  shares = {f"behaviour_{name}": behaviour for name in ("en", "zh", "switching")}
  quiet = {"malformed": 0.0, "worked": 0.0, "languages": (1, 0, 0, 0)}
  return changed(**{**shares, **quiet, **fields})


def some(world, count, seed=0):
  return list(itertools.islice(arithmetic.documents(world, seed), count))


def value(text):
  """The sum, worked out again from its text."""
  tokens = re.findall(r"\d+|[+-]", text)
  total = int(tokens[0])
  for sign, n in zip(tokens[1::2], tokens[2::2]):
    total += int(n) if sign == "+" else -int(n)
  return total


def test_a_problem_by_hand():
  asked = arithmetic.Problem((3, 9, 4), "+-", 8)
  en, zh = arithmetic.question(asked, "en"), arithmetic.question(asked, "zh")
  assert (en.id, en.prompt, en.answer) == ("3+9-4", "what is 3 + 9 - 4 ?", "8")
  assert (en.kind, en.language, en.meta) == ("maths", "en", {"terms": 3})
  assert (zh.id, zh.prompt, zh.language) == ("3+9-4", "3 + 9 - 4 是多少？", "zh")


def test_values_are_right_and_never_below_zero_on_the_way():
  rng = random.Random(0)
  for _ in range(500):
    asked = arithmetic.problem(rng, WORLD, "train")
    assert asked.value == value(asked.text(""))
    running = asked.numbers[0]
    for sign, n in zip(asked.operators, asked.numbers[1:]):
      running += n if sign == "+" else -n
      assert running >= 0
    assert 5 <= len(asked.numbers) <= 6
    assert all(2 <= n <= 9 for n in asked.numbers)


def test_the_split_is_a_hash_that_no_seed_moves():
  """crc32 of "3+9-4" is 2108976433 (gzip says so too), so its place among 10,000 is 6433."""
  asked = arithmetic.Problem((3, 9, 4), "+-", 8)
  assert arithmetic.split_of(asked, changed(test_share=0.6433)) == "train"
  assert arithmetic.split_of(asked, changed(test_share=0.6434)) == "test"


def test_documents_never_show_a_test_problem():
  asked = {q.prompt for q in arithmetic.questions(WORLD, "test", count=300, seed=0)}
  sums = {re.search(r"\d+( [+-] \d+)+", prompt).group() for prompt in asked}
  for page in some(WORLD, 2000):
    assert re.search(r"\d+( [+-] \d+)+", page.prompt).group() not in sums


def test_questions_are_distinct_of_one_split_and_made_again_by_their_seed():
  test = arithmetic.questions(WORLD, "test", count=200, seed=1, terms=6)
  train = arithmetic.questions(WORLD, "train", count=200, seed=1, terms=6)
  assert len({q.id for q in test + train}) == 400
  assert all(q.meta == {"terms": 6} and q.answer == str(value(q.id)) for q in test + train)
  assert test == arithmetic.questions(WORLD, "test", count=200, seed=1, terms=6)
  assert test != arithmetic.questions(WORLD, "test", count=200, seed=2, terms=6)


def test_a_world_with_too_few_problems_says_so():
  # Two numbers from 2 to 3: 2+2 2-2 2+3 3+2 3-2 3+3 3-3, and 2-3 turns into 2+3: seven problems.
  small = changed(terms=((2, 1.0),), operands=(2, 3), test_share=0.0)
  assert len(arithmetic.questions(small, "train", count=7, seed=0)) == 7
  with pytest.raises(ValueError, match="only 7 distinct train problems"):
    arithmetic.questions(small, "train", count=8, seed=0)
  with pytest.raises(ValueError, match=r"no test problem .* test_share=0\.0"):
    arithmetic.questions(small, "test", count=1, seed=0)


def test_a_document_depends_on_its_seed_and_number_alone():
  pages = some(WORLD, 30)
  later = list(itertools.islice(arithmetic.documents(WORLD, 0, start=20), 10))
  assert later == pages[20:]
  assert pages != some(WORLD, 30, seed=1)


def thought_of(page):
  return FORMED.fullmatch(page.response).group(1)


def test_plain_english_steps_read_as_the_grammar_says():
  page = some(only((0, 1, 0), slip=0.0), 1)[0]
  numbers = re.fullmatch(r"User: what is (.+) \? Assistant:", page.prompt).group(1)
  first, *signs = re.findall(r"\d+|[+-]", numbers)
  clauses, total = [], int(first)
  for sign, n in zip(signs[::2], signs[1::2]):
    after = total + int(n) if sign == "+" else total - int(n)
    clauses.append(f"{'then' if clauses else 'first'} {total} {sign} {n} = {after}")
    total = after
  thought = ", ".join([*clauses, f"so {total}"])
  assert page.response == f"<think>{thought}</think><answer>{total}</answer>"


def test_checked_chinese_steps_read_as_the_grammar_says():
  step = r"\d+ [+-] \d+ = \d+"
  pattern = rf"先 {step}，检查 {step} (对|等等)(，然后 {step}，检查 {step} (对|等等))+，所以 \d+"
  for page in some(only((0, 0, 1), languages=(0, 1, 0, 0)), 50):
    assert re.fullmatch(r"User: [\d +-]+ 是多少？ Assistant:", page.prompt)
    assert re.fullmatch(pattern, thought_of(page))


def test_switching_thoughts_mix_and_each_comma_follows_the_clause_it_opens():
  pages = some(only((0, 0, 1), languages=(0, 0, 0, 1)), 50)
  joined = " ".join(thought_of(page) for page in pages)
  assert re.search(r"\d，检查|yes，检查", joined)
  assert re.search(r"\d, check|对, then", joined)
  assert not re.search(r"，(first|then|check|so)|, (先|然后|检查|所以)", joined)


@pytest.mark.parametrize("languages", [(1, 0, 0, 0), (0, 0, 0, 1)])
def test_a_check_is_right_says_whether_it_agrees_and_its_value_is_carried_on(languages):
  waits = 0
  for page in some(only((0, 0, 1), languages=languages, slip=0.5, slip_switching=0.5), 200):
    thought = thought_of(page)
    steps = STEP.findall(thought)
    verdicts = re.findall(r"yes|wait|对|等等", thought)
    carried = int(steps[0][0])
    for said, redone, verdict in zip(steps[::2], steps[1::2], verdicts, strict=True):
      assert said[:3] == redone[:3]
      assert int(said[0]) == carried
      carried = carried + int(said[2]) if said[1] == "+" else carried - int(said[2])
      assert int(redone[3]) == carried
      assert (said == redone) == (verdict in ("yes", "对"))
      waits += verdict in ("wait", "等等")
    assert FORMED.fullmatch(page.response).group(2) == str(carried) == str(value(page.prompt))
  assert waits > 100


def test_an_unchecked_slip_is_carried_on_and_never_goes_below_zero():
  wrong = 0
  for page in some(only((0, 1, 0), slip=0.5), 300):
    assert "= -" not in page.response
    steps = STEP.findall(page.response)
    assert [step[3] for step in steps[:-1]] == [step[0] for step in steps[1:]]
    said = FORMED.fullmatch(page.response).group(2)
    assert said == steps[-1][3]
    wrong += int(said) != value(page.prompt)
  assert wrong > 200


def test_shares_are_what_the_world_says():
  # 4,000 draws: four standard errors of a share near .3 are .029.
  guesses = some(only((1, 0, 0)), 4000)
  right = sum(FORMED.fullmatch(p.response).group(2) == str(value(p.prompt)) for p in guesses)
  assert right / 4000 == pytest.approx(0.3, abs=0.03)
  pages = some(WORLD, 4000)
  worked = [p for p in pages if not p.prompt.startswith("User")]
  assert len(worked) / 4000 == pytest.approx(0.2, abs=0.03)
  talks = [p for p in pages if p.prompt.startswith("User")]
  formed = [p for p in talks if FORMED.fullmatch(p.response)]
  assert 1 - len(formed) / len(talks) == pytest.approx(0.25, abs=0.03)
  # Guesses hold no '='. Thoughts are en .55, zh .20 + .10, switching .15:
  # .55·.6 + .30·.4 + .15·.2 = .48
  direct = sum("=" not in p.response for p in talks)
  assert direct / len(talks) == pytest.approx(0.48, abs=0.035)
  slips = collections.Counter(
    value(f"{a}{sign}{b}") == int(said)
    for page in some(only((0, 1, 0)), 800)
    for a, sign, b, said in STEP.findall(page.response)
  )
  assert slips[False] / slips.total() == pytest.approx(0.15, abs=0.03)


def test_worked_examples_have_steps_but_no_tags_and_no_guesses():
  for page in some(changed(worked=1.0), 200):
    assert re.fullmatch(r"(Exercise: |练习：)\d+( [+-] \d+)+", page.prompt)
    assert re.match(r"\n(first|先) ", page.response)
    assert "<" not in page.response
    assert len(STEP.findall(page.response)) >= 4


def test_malformed_answers_never_pass_for_well_formed():
  kinds = collections.Counter()
  for page in some(changed(worked=0.0, malformed=1.0), 200):
    assert not FORMED.search(page.response)
    kinds["<think>" in page.response, "<answer>" in page.response] += 1
  assert len(kinds) == 3


def test_tokens_begin_with_those_that_sampling_begins_with():
  pages = some(WORLD, 500)
  lines = (page.prompt + page.response for page in pages)
  tokenizer = tokenizers.load(tokenizers.train(lines, vocab_size=384, symbols=arithmetic.SYMBOLS))
  for page in pages[:50]:
    ids = arithmetic.tokens(tokenizer, page)
    assert tokenizer.decode(ids) == page.prompt + page.response
    assert (ids[0], ids[-1]) == (tokenizer.bos, tokenizer.eos[0])
  asked = arithmetic.questions(WORLD, "train", count=1, seed=0)[0]
  page = arithmetic.Document(templates.render("short", asked.prompt), "<think>so 5</think>")
  prompt = templates.encode(tokenizer, "short", asked.prompt)
  assert arithmetic.tokens(tokenizer, page)[: len(prompt)] == prompt


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"terms": ((1, 1.0),)}, r"terms=\(\(1, 1.0\),\)"),
    ({"terms": ((5, 0.5), (6, 0.4))}, "shares adding to 1"),
    ({"operands": (9, 2)}, r"operands=\(9, 2\)"),
    ({"languages": (0.5, 0.2, 0.1, 0.1)}, "languages=.*add up to 1"),
    ({"behaviour_zh": (1.5, -0.5, 0.0)}, "behaviour_zh"),
    ({"behaviour_en": (1.0, 0.0, 0.0)}, "no steps, which worked=0.2 needs"),
    ({"slip": 1.2}, "slip=1.2"),
  ],
)
def test_a_world_that_cannot_be_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    changed(**fields)


def test_a_negative_seed_or_an_unknown_split_is_refused():
  with pytest.raises(ValueError, match="seed=-1"):
    next(arithmetic.documents(WORLD, -1))
  with pytest.raises(ValueError, match="split='valid'"):
    arithmetic.problem(random.Random(0), WORLD, "valid")
