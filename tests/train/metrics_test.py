"""metrics.jsonl: what is logged is what is read, and a resumed run repeats no line."""

import json
import math

import pytest
import tensorboardX

from r1.train import metrics


def written(path, *records):
  for record in records:
    metrics.append(path, record)
  return path


def test_what_was_appended_is_read_in_order(tmp_path):
  records = [{"step": 0, "text": "思考\n\r\t\"'"}, {"step": 1, "reward/total": 0.5}]
  assert metrics.read(written(tmp_path / "m.jsonl", *records)) == records


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\x0c", "\ufffd"])
def test_a_sampled_text_may_hold_any_line_separator(tmp_path, odd):
  """A policy of byte tokens draws them sooner or later; only a newline ends a line."""
  path = written(tmp_path / "samples.jsonl", {"step": 1, "response": f"a{odd}b"}, {"step": 2})
  assert metrics.read(path)[0]["response"] == f"a{odd}b"
  metrics.keep_until(path, 1)
  assert metrics.read(path) == [{"step": 1, "response": f"a{odd}b"}]


def test_lines_after_the_checkpoint_are_cut(tmp_path):
  path = written(tmp_path / "m.jsonl", *({"step": n} for n in (0, 1, 2, 2, 3)))
  metrics.keep_until(path, 2)
  assert [r["step"] for r in metrics.read(path)] == [0, 1, 2, 2]
  metrics.keep_until(path, -1)
  assert path.read_text() == ""
  assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_lines_that_stay_keep_their_bytes(tmp_path):
  path = tmp_path / "m.jsonl"
  path.write_text('{"step":1,  "a": 1e-05}\n{"step": 9}\n')
  metrics.keep_until(path, 1)
  assert path.read_text() == '{"step":1,  "a": 1e-05}\n'


def test_a_line_that_was_not_finished_is_dropped(tmp_path):
  """The run was killed while it wrote."""
  path = tmp_path / "m.jsonl"
  path.write_text('{"step": 1}\n{"step": 2, "rew')
  metrics.keep_until(path, 9)
  assert path.read_text() == '{"step": 1}\n'


def test_a_file_that_is_not_there_is_no_trouble(tmp_path):
  metrics.keep_until(tmp_path / "m.jsonl", 3)
  assert not (tmp_path / "m.jsonl").exists()


def test_a_step_is_logged_as_one_line_and_as_events(tmp_path):
  writer = tensorboardX.SummaryWriter(str(tmp_path / "tensorboard"))
  metrics.log(tmp_path, writer, 4, {"reward/total": 1, "eval/pass@1": 0.25})
  writer.close()
  line = (tmp_path / "metrics.jsonl").read_text()
  assert json.loads(line) == {"step": 4, "eval/pass@1": 0.25, "reward/total": 1.0}
  events = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").iterdir())
  assert b"reward/total" in events
  assert b"eval/pass_at_1" in events


def test_numbers_that_are_not_finite_survive(tmp_path):
  path = written(tmp_path / "m.jsonl", {"step": 1, "policy/loss": math.nan})
  assert math.isnan(metrics.read(path)[0]["policy/loss"])


def test_only_clocks_are_left_out_of_what_must_repeat():
  record = {"step": 1, "time/sample_s": 2.0, "throughput/mfu": 0.1, "response/length": 9.0}
  assert metrics.steady(record) == {"step": 1, "response/length": 9.0}


def test_the_last_lines_are_read_without_the_others(tmp_path):
  path = tmp_path / "samples.jsonl"
  for step in range(5):
    metrics.append(path, {"step": step, "response": "a\u2028b\r"})
  assert metrics.last(path, 2) == [{"step": n, "response": "a\u2028b\r"} for n in (3, 4)]
  assert len(metrics.last(path, 9)) == 5
