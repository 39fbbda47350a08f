"""The audit counts every row once, says what it chose, and fails where a hack passes."""

import gzip
import json

import ml_collections
import pytest

from configs import verifiers
from experiments import audit_rewards as audit
from r1.rewards import canaries

KEYS = {"rows", "agree", "false_pos", "false_neg", "policy", "skipped", "ms_median"}
EQUAL = [
  {"id": "a", "suite": "core", "gold": "1/2", "pred": "0.5", "equal": True},
  {"id": "b", "suite": "core", "gold": "x+1", "pred": "x+2", "equal": True},  # mislabelled
  {"id": "c", "suite": "core", "gold": "8", "pred": "8", "equal": False},  # mislabelled
  {"id": "d", "suite": "policy", "gold": "8", "pred": "8", "equal": True},
]
CODE = [
  {
    "id": "e",
    "kind": "stdio",
    "language": "python",
    "completion": "```python\nprint(int(input()) + 1)\n```",
    "tests": [{"input": "1\n", "output": "2\n"}],
    "accepted": True,
  },
  {"id": "f", "kind": "script", "language": "swift", "code": "x", "expect": []},
]


@pytest.fixture
def cases(tmp_path):
  folder = tmp_path / "cases"
  folder.mkdir()
  write = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "math_equal.jsonl").write_text(write(EQUAL))
  (folder / "code_exec.jsonl.gz").write_bytes(gzip.compress(write(CODE).encode()))
  (folder / "unheard_of.jsonl").write_text(write([{"id": "g"}]))
  return folder


def settings():
  return ml_collections.ConfigDict(verifiers.get_config())


def test_every_row_is_counted_once_and_written(cases, tmp_path, capsys):
  out = tmp_path / "audit.json"
  assert audit.main(settings(), str(cases), str(out)) == 0
  found = json.loads(out.read_text())
  assert set(found) == {
    "canaries/answer_tag",
    "canaries/boxed",
    "math_equal",
    "code_exec",
    "unheard_of",
  }
  for counts in found.values():
    assert set(counts) == KEYS
    kinds = KEYS - {"rows", "ms_median"}
    assert counts["rows"] == sum(counts[kind] for kind in kinds)
  counted = lambda name: {k: v for k, v in found[name].items() if v and k not in ("ms_median",)}
  assert counted("math_equal") == {
    "rows": 4,
    "agree": 1,
    "false_neg": 1,
    "false_pos": 1,
    "policy": 1,
  }
  assert counted("code_exec") == {"rows": 2, "agree": 1, "skipped": 1}
  assert counted("unheard_of") == {"rows": 1, "skipped": 1}
  said = capsys.readouterr().out
  assert "math_equal b: false_neg" in said
  assert "swift is not run here" in said


def test_an_accepted_hack_is_told_and_ends_with_one(capsys, monkeypatch):
  monkeypatch.setitem(canaries.EMPTY, "the answer itself", "6*7")
  monkeypatch.setattr(
    canaries, "MISPLACED", {"answer_tag": {"fair": "<answer>{gold}</answer>"}, "boxed": {}}
  )
  assert audit.main(settings(), "", "") == 1
  said = capsys.readouterr().out
  assert "accepted in answer_tag: 'fair'" in said
  assert "no --cases given" in said


def test_a_folder_without_suites_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"holds no suite; wanted files NAME\.jsonl"):
    audit.main(settings(), str(tmp_path), "")
