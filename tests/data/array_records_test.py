"""Conversations on array_record: what is written reads back, without TensorFlow."""

import json
import subprocess
import sys

import pytest

from r1.data import array_records

pytestmark = pytest.mark.filterwarnings("ignore")  # TFDS and its dependencies warn of themselves

ROWS = [
  {
    "id": "a/0",
    "messages": [
      {"role": "user", "content": "1 + 2 是多少？"},
      {"role": "assistant", "content": "<think>so 3</think>\\boxed{3}"},
    ],
    "meta": {"source": "runs/dev2", "tokens": 12},
  },
  {
    "id": "b/1",
    "messages": [
      {"role": role, "content": text}
      for role, text in (("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"))
    ],
    "meta": {},
  },
]


def test_what_is_written_reads_back(tmp_path):
  folder = array_records.write(tmp_path, "harvest", ROWS)
  assert folder == tmp_path / "harvest" / "1.0.0"
  assert (folder / "dataset_info.json").exists()
  assert array_records.read(folder) == ROWS
  assert array_records.write(tmp_path, "harvest", ROWS[:1]) == folder
  assert array_records.read(folder) == ROWS[:1], "written anew, it replaces what was there"


def test_the_library_s_own_reader_takes_it_without_tensorflow(tmp_path):
  folder = array_records.write(tmp_path, "harvest", ROWS)
  code = (
    "import sys, tensorflow_datasets as tfds\n"
    f"source = tfds.builder_from_directory({str(folder)!r}).as_data_source(split='train')\n"
    "print(sorted(row['id'].decode() for row in source), 'tensorflow' in sys.modules)"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "['a/0', 'b/1'] False"
  assert json.loads((folder / "dataset_info.json").read_text())["fileFormat"] == "array_record"
