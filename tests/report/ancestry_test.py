"""The lineage of a chain as a page."""

from r1.report import ancestry

GRAPH = {
  "base": {
    "stage": "pretrain",
    "argument": "tiny",
    "commit": "0123456789abcdef",
    "parents": {},
    "data": {"world": "aa"},
    "counts": {},
    "outputs": {"model": "fedcba9876543210"},
  },
  "sft": {
    "stage": "sft",
    "argument": "tiny,model={base}",
    "commit": "0123",
    "parents": {"base": "fedcba9876543210", "hf:org/name": "11"},
    "data": {"train": "bb"},
    "counts": {"train": {"kept": 5, "dropped": {"wrong": 2, "mixed": 1}}},
    "outputs": None,
  },
}


def test_a_page_draws_who_was_made_from_whom():
  text = ancestry.page(GRAPH)
  assert '```mermaid\ngraph TD\n  base["base"] --> sft["sft"]\n' in text
  assert '  hf_org_name["hf:org/name"] --> sft["sft"]\n```' in text


def test_every_stage_has_its_digests_and_an_unfinished_one_says_so():
  lines = ancestry.stages(GRAPH).splitlines()
  assert lines[2] == "| base | pretrain | – | model `fedcba987654` | 0123456789ab |"
  assert lines[3].startswith("| sft | sft | base `fedcba987654`<br>hf:org/name `11` | not finished")


def test_every_data_set_has_its_counts_by_reason():
  lines = ancestry.data(GRAPH).splitlines()
  assert lines[2:] == [
    "| base | world | `aa` | – | – |",
    "| sft | train | `bb` | 5 | 2 wrong, 1 mixed |",
  ]


def test_what_is_counted_under_another_name_than_its_data_set_is_shown_too():
  counts = {"train": {"kept": 5, "dropped": {}}, "rewritten": {"kept": 6, "dropped": {"wrong": 2}}}
  lines = ancestry.data({"cold": GRAPH["sft"] | {"counts": counts}}).splitlines()
  assert lines[2:] == ["| cold | train | `bb` | 5 | – |", "| cold | rewritten | – | 6 | 2 wrong |"]
