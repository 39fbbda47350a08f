"""What a run warns of, and that it is silent where all is well."""

import io

import rich.console

from r1.report import warning


def shown(line):
  out = io.StringIO()
  rich.console.Console(file=out, width=200).print(line, soft_wrap=True)
  return out.getvalue()


def test_a_base_that_is_hardly_ever_right_is_told():
  (line,) = warning.of_base({"eval/pass@8": 0.25, "eval/pass@1": 0.9}, 8)
  assert shown(line).startswith("only 25% of the questions have a right answer among 8 samples")
  assert list(warning.of_base({"eval/pass@8": 0.5, "eval/pass@1": 0.1}, 8)) == []


def test_a_first_update_that_is_not_on_policy_is_told_where_rounding_is_no_excuse():
  (line,) = warning.of_first_update({"policy/ratio_gap": 2e-5}, "float32")
  assert shown(line) == "the first update is not on-policy: |ratio - 1| = 2.0e-05\n"
  assert list(warning.of_first_update({"policy/ratio_gap": 1e-6}, "float32")) == []
  assert list(warning.of_first_update({"policy/ratio_gap": 2e-2}, "bfloat16")) == []


def test_the_first_errors_of_graders_are_told_with_their_brackets():
  lines = list(warning.of_graders(["a [/red] b", "[bold]c", "d \\", "e"]))
  assert [shown(line) for line in lines] == [
    "no verdict: a [/red] b\n",
    "no verdict: [bold]c\n",
    "no verdict: d \\\n",
  ]
  assert list(warning.of_graders([])) == []
