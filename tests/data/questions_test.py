"""Reading questions: every key, every source, and every broken line by its number."""

import contextlib
import dataclasses
import gzip
import io
import json
import math

import pytest

from r1.data import questions


def write(tmp_path, *rows, name="set.jsonl"):
  path = tmp_path / name
  path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
  return path


def test_every_key_is_read(tmp_path):
  row = {
    "id": "q7",
    "prompt": "Write f.",
    "kind": "code",
    "language": "zh",
    "tests": ["assert f(1) == 2"],
    "meta": {"source": "own"},
  }
  (asked,) = questions.load(write(tmp_path, row))
  assert dataclasses.asdict(asked) == {
    **row,
    "answer": None,
    "tests": ("assert f(1) == 2",),
  }


def test_ids_default_to_the_file_and_the_line(tmp_path):
  row = {"prompt": "1 + 1?", "answer": "2"}
  asked = questions.load(write(tmp_path, row, "\n", row, name="sums.train.jsonl"))
  assert [q.id for q in asked] == ["sums/1", "sums/3"]  # the empty line 2 is passed over
  assert (asked[0].kind, asked[0].language, asked[0].meta) == ("maths", "en", {})


def test_gzip_reads_as_its_text_does(tmp_path):
  path = write(tmp_path, {"id": "a", "prompt": "圆周率？", "answer": "3"})
  packed = tmp_path / "set.jsonl.gz"
  packed.write_bytes(gzip.compress(path.read_bytes()))
  assert questions.load(packed) == questions.load(path)


def test_gsm8k_rows_give_the_number_after_the_mark(tmp_path):
  rows = [
    {"question": "How many?", "answer": "3*4=<<3*4=12>>12 #### not yet\n#### 1,234"},
    {"question": "How much?", "answer": "So -7.50.\n#### -7.50"},
  ]
  asked = questions.load(write(tmp_path, *rows, name="test.jsonl"))
  assert [(q.id, q.prompt, q.answer, q.kind) for q in asked] == [
    ("test/1", "How many?", "1234", "maths"),
    ("test/2", "How much?", "-7.50", "maths"),
  ]


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{not json}\n", "not JSON: .* at column 2"),
    ("[1]\n", "a JSON list, wanted an object"),
    ({"answer": "2"}, "no 'prompt'"),
    ({"prompt": " ", "answer": "2"}, "no 'prompt'"),
    ({"prompt": "p"}, "no 'answer', which kind 'maths' needs"),
    ({"prompt": "p", "answer": None}, "no 'answer'"),
    ({"prompt": "p", "answer": 2}, "answer is 2, wanted a string in quotes"),
    ({"prompt": "p", "kind": "choice"}, "no 'answer', which kind 'choice' needs"),
    ({"prompt": "p", "kind": "code"}, "no 'tests'"),
    ({"prompt": "p", "kind": "code", "tests": "x"}, "'tests' must be a list"),
    ({"prompt": "p", "answer": "2", "meta": []}, "'meta' an object"),
    ({"prompt": "p", "answer": "2", "kind": "math"}, "kind='math' is unknown; there are maths"),
    ({"prompt": "p", "answer": "2", "solution": "x"}, r"unknown keys \['solution'\]"),
    ({"id": "ok", "prompt": "p", "answer": "2"}, "id 'ok' is that of line 1 too"),
    ({"question": "q", "answer": "42"}, "looks like GSM8K"),
    ({"question": "q", "answer": "#### "}, "looks like GSM8K"),
    ('{"prompt": "p", "prompt": "q", "answer": "2"}\n', r"keys \['prompt'\] are given twice"),
  ],
)
def test_a_broken_line_is_named_by_its_file_and_number(tmp_path, line, message):
  good = {"id": "ok", "prompt": "p", "answer": "1"}
  with pytest.raises(ValueError, match=rf"set\.jsonl:2: .*{message}"):
    questions.load(write(tmp_path, good, line))


def test_helpful_and_safety_need_no_answer(tmp_path):
  rows = [{"prompt": "p", "kind": kind} for kind in ("helpful", "safety")]
  assert [q.answer for q in questions.load(write(tmp_path, *rows))] == [None, None]


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path):
  path = tmp_path / "set.jsonl"
  path.write_bytes(b'\xef\xbb\xbf{"prompt": "p", "answer": "1"}\n{"prompt": "\xff"}\n')
  with pytest.raises(ValueError, match=r"^[^\n]*set\.jsonl:2: not UTF-8$"):
    questions.load(path)


def test_five_broken_lines_are_told_and_the_rest_counted(tmp_path):
  with pytest.raises(ValueError, match="and 2 more") as error:
    questions.load(write(tmp_path, *[{"prompt": "p"}] * 7))
  assert [line.split(":")[1] for line in str(error.value).splitlines()[:-1]] == list("12345")


def test_a_file_without_questions_or_no_file_at_all_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no question in it"):
    questions.load(write(tmp_path, "\n\n"))
  with pytest.raises(ValueError, match=r"absent\.jsonl: no such file or folder"):
    questions.load(tmp_path / "absent.jsonl")
  with pytest.raises(ValueError, match="no such file"):
    questions.load(f"{tmp_path}/absent@train")
  with pytest.raises(ValueError, match=r"no dataset_info\.json"):
    questions.load(tmp_path)


def test_an_unknown_kind_is_refused_in_code_too():
  with pytest.raises(ValueError, match="kind='essay' is unknown"):
    questions.Question(id="a", prompt="p", kind="essay")


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
  """A builder directory of two splits with every key, written without TensorFlow."""
  tfds = pytest.importorskip("tensorflow_datasets")
  keys = ("id", "prompt", "answer", "kind", "language", "tests", "meta")
  rows = {
    "train": [
      {"id": "a", "prompt": "求和 1 + 2", "answer": "3", "kind": "maths", "language": "zh"},
      {"id": "b", "prompt": "Write f.", "kind": "code", "language": "en", "tests": '["x", "y"]'},
    ],
    "test": [{"id": "c", "prompt": "p", "answer": "4", "kind": "short", "meta": '{"n": 1}'}],
  }

  class Own(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = tfds.features.FeaturesDict({key: tfds.features.Text() for key in keys})
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(part) for split, part in rows.items()}

    def _generate_examples(self, part):
      for row in part:
        yield row["id"], {key: row.get(key, "") for key in keys}

  builder = Own(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
  with contextlib.redirect_stderr(io.StringIO()):  # progress bars
    builder.download_and_prepare()
  return builder.data_path


@pytest.mark.filterwarnings("ignore")  # TFDS and its dependencies warn of themselves
def test_a_tfds_directory_reads_back_split_by_split(tfds_folder):
  first, second = sorted(questions.load(tfds_folder), key=lambda q: q.id)
  assert first == questions.Question(id="a", prompt="求和 1 + 2", answer="3", language="zh")
  assert second == questions.Question(
    id="b", prompt="Write f.", kind="code", tests=("x", "y"), answer=None
  )
  (third,) = questions.load(f"{tfds_folder}@test")
  assert (third.id, third.answer, third.meta) == ("c", "4", {"n": 1})


@pytest.mark.filterwarnings("ignore")
def test_a_split_that_is_not_there_is_told_with_those_that_are(tfds_folder):
  with pytest.raises(ValueError, match=r"@valid: .*\['test', 'train'\]"):
    questions.load(f"{tfds_folder}@valid")


@pytest.mark.parametrize(("name", "count"), [("train", 7473), ("test", 1319)])
def test_the_whole_of_gsm8k_is_read(test_data, name, count):
  asked = questions.load(test_data / "gsm8k" / f"{name}.jsonl.gz")
  assert len(asked) == count
  assert all("," not in q.answer and math.isfinite(float(q.answer)) for q in asked)
