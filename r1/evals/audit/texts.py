"""Judges of the suites of option letters and of question answering."""

from r1.evals import options, qa, score
from r1.evals.audit import suite
from r1.rewards import choice, spelling


def choice_extract(row) -> suite.Ruling:
  """Reads the letter of a free text; the row says whether it is the gold one."""
  wanted = _gold_letter(row["gold"])
  if wanted is None:
    note = "options are the letters A to J"
    return suite.Ruling(outcome="policy", mode="free", note=note)
  said = options.settled(row["pred"], len(choice.LETTERS)) == wanted
  return suite.compare(row["equal"], said, "free")


def _gold_letter(gold: str) -> str | None:
  """The letter of a gold answer, which may go on with the option's text."""
  label = choice.LABEL.match(spelling.half_width(gold).strip())
  return label and choice.by_label(label)


def qa_match(row) -> suite.Ruling:
  """Runs the metric that the row names; floats are compared to the row's tolerance, or 1e-9."""
  rule = QA.get(row["fn"])
  if rule is None:
    return suite.Ruling(outcome="skipped", mode=row["fn"], note="no such metric here")
  said, wanted = rule(**row["args"]), row["out"]
  if isinstance(wanted, list):
    said = [_snap(a, b, row) for a, b in zip(said, wanted, strict=True)]
  return suite.compare(wanted, _snap(said, wanted, row), row["fn"])


def _snap(said, wanted, row):
  """The wanted number itself where the said one is within the tolerance."""
  if not isinstance(said, (int, float)):
    return said
  return wanted if abs(said - wanted) <= row.get("tolerance", 1e-9) else said


def _golds(given) -> list[str]:
  return [given] if isinstance(given, str) else given


QA = {
  "drop_normalize": lambda text: qa.drop_normal(text),
  "drop_em_f1": lambda predicted, gold: qa.drop(predicted, [gold]),
  "drop_em_f1_multi_gold": lambda predicted, golds: qa.drop(predicted, golds),
  "token_f1": lambda predicted, golds: qa.token_f1(qa.final(predicted), _golds(golds)),
  "normalized_exact_match_after_think": lambda predicted, golds: qa.exact(
    qa.final(predicted), _golds(golds)
  ),
}


def letters(row) -> suite.Ruling:
  """Letters out of model answers: of the first one, or pass@k over the first n."""
  metric, params = row["metric"], row["params"]
  if metric == "pass_at_k_letters":
    note = "one right letter in n counts towards pass@k; these rows give it 0"
    return suite.Ruling(outcome="policy", mode="free", note=note)
  if metric not in ("gpqa_instruct_metric", "gpqa_instruct_pass_at_k"):
    return suite.Ruling(outcome="skipped", mode=metric, note="not a metric of letters")
  choices = row["doc"]["choices"]
  gold = choices[row["doc"]["gold_index"]]
  correct = [options.settled(text, len(choices)) == gold for text in row["response"]]
  if metric == "gpqa_instruct_metric":
    said = float(correct[0])
  else:
    said = score.pass_at([correct[: params["n"]]], params["k"])
  (wanted,) = row["expected"].values()
  return suite.compare(wanted, _snap(said, wanted, row), "free")
