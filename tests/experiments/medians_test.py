"""Several seeds' tables from their workdirs."""

import json

import pytest

from experiments import medians


def test_the_tables_of_workdirs_become_one(tmp_path):
  for seed, greedy in enumerate((0.9, 0.7, 0.8)):
    (tmp_path / f"r1-{seed}").mkdir()
    table = {"rival": "Dev3", "models": {"R1": {"greedy": [greedy, 0], "win": [0.5, 0]}}}
    (tmp_path / f"r1-{seed}" / "table.json").write_text(json.dumps(table))
  page = medians.main([str(tmp_path / f"r1-{seed}") for seed in range(3)])
  assert page.splitlines()[0] == "| model | accuracy, greedy | wins against Dev3 |"
  assert page.splitlines()[2] == "| R1 | 0.800 (0.700–0.900) | 0.500 (0.500–0.500) |"


def test_no_workdir_and_one_without_a_table_are_refused(tmp_path):
  with pytest.raises(ValueError, match="no workdir given"):
    medians.main([])
  with pytest.raises(ValueError, match=r"has no table\.json"):
    medians.main([str(tmp_path)])
