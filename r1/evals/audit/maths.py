"""Judges of the suites of mathematics: equality, answers of models, extraction and spelling."""

from r1.evals import options
from r1.evals.audit import suite
from r1.rewards.maths import extract, grade, latex, symbolic, units

COUNTED = ("core", "multilingual")
# What the other rows of math_equal take for granted, and what is held here.
CHOICES = {
  "policy": "decimals to six places, ordered tuples are no sets, lists are unordered",
  "extraction_policy": "an answer stands in a box or a tag; no brackets, last numbers or tails",
  "wrong_label": "the recorded label is mathematically wrong",
}


def math_equal(row, grader: grade.Grader) -> suite.Ruling:
  """Both sides may be whole texts, so the answer is searched as the row says."""
  given = row.get("opts") or {}
  if row["suite"] not in COUNTED:
    note = CHOICES.get(row["suite"], f"suite {row['suite']!r}")
    return suite.Ruling(outcome="policy", mode="free", note=note)
  kinds = given.get("match_types", symbolic.KINDS)
  kinds = [kind for kind in kinds if kind in symbolic.KINDS]
  places = given.get("precision", symbolic.PLACES)
  pair = (row["gold"], row["pred"])
  (said,) = grader.compare([pair], free=True, kinds=kinds, places=places)
  return suite.compare(row["equal"], said == "right", "free")


def model_outputs(row, grader: grade.Grader, mode: str) -> suite.Ruling:
  """A whole response of a model, its answer found in the mode that rewards use."""
  answer = extract.extract(row["response"], mode)
  (said,) = grader.compare([(row["gold"], answer)]) if answer else ("unparsed",)
  return suite.compare(row["equal"], said == "right", mode)


def normalize_extract(row, grader: grade.Grader) -> suite.Ruling:
  """Boxes and letters by their text; spellings by whether ours makes the two the same answer."""
  op, given, wanted = row["op"], row["input"], row["output"]
  if op in ("extract_boxed", "last_boxed", "remove_boxed", "unbox_all"):
    wanted = wanted if op in ("extract_boxed", "unbox_all") else _inside(wanted, op)
    return suite.compare(wanted, extract.last_box(given), "boxed")
  if op == "letter_extract":
    return suite.compare(wanted, options.settled(given, len(row["strings"])), "letters")
  if op == "strip_units":
    value, _ = units.split(latex.canonical(given))
    return suite.compare(latex.canonical(wanted), value, "units")
  if op not in ("hendrycks_strip_string", "minerva_normalize_final_answer"):
    return suite.Ruling(outcome="skipped", mode=op, note="no such operation here")
  if given.replace(" ", "").isalpha():
    note = "articles and spaces between words stay: they may be the answer"
    return suite.Ruling(outcome="policy", mode="spelling", note=note)
  (said,) = grader.compare([(wanted, given)])
  return suite.compare(True, said == "right", "spelling")


def _inside(boxed: str | None, op: str) -> str | None:
  """What last_boxed keeps its box around; remove_boxed has none around its output."""
  return extract.last_box(boxed) if boxed and op == "last_boxed" else boxed
