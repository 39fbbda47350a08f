"""Files of rows: what cannot be read is told by its number, with all the rest of it."""

import gzip

import pytest

from r1.data import rows

TEXT = '\ufeff{"a": 1}\n\n{"a": 2}\n'


@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz"])
def test_lines_are_numbered_as_an_editor_does(tmp_path, name):
  path, raw = tmp_path / name, TEXT.encode()
  path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
  assert list(rows.lines(path)) == [(1, {"a": 1}), (3, {"a": 2})]


def collect(given, make):
  return rows.collect(given, make, name="set", what="number", wanted="an object")


@pytest.mark.parametrize(
  ("raw", "message"),
  [
    (b'{"a": "\xff"}', "not UTF-8"),
    (b'{"a": }', "not JSON: Expecting value at column 7"),
    (b'{"a": 1, "b": 2, "a": 3}', r"keys \['a'\] are given twice"),
    (b"[1]", "a JSON list, wanted an object"),
    (b'"a"', "a JSON str, wanted an object"),
  ],
)
def test_a_broken_line_is_told_and_the_ones_behind_it_are_read(tmp_path, raw, message):
  path = tmp_path / "set.jsonl"
  path.write_bytes(b'{"a": 0}\n' + raw + b'\n{"a": 9}\n')
  made = []
  with pytest.raises(ValueError, match=rf"^set:2: {message}$"):
    collect(rows.lines(path), lambda n, row: made.append(row["a"]))
  assert made == [0, 9]


def test_records_come_in_order():
  given = [(1, {"a": "x"}), (4, {"a": "y"})]
  assert collect(given, lambda n, row: f"{n}{row['a']}") == ["1x", "4y"]


def test_five_faults_are_told_and_the_others_counted():
  def refuse(number, row):
    raise ValueError(f"no {row['a']}")

  with pytest.raises(ValueError, match="set:1: no 1\n") as caught:
    collect([(n, {"a": n}) for n in range(1, 8)], refuse)
  told = str(caught.value).splitlines()
  assert told == [f"set:{n}: no {n}" for n in range(1, 6)] + ["… and 2 more"]


def test_a_fault_of_ours_is_not_blamed_on_the_file():
  with pytest.raises(KeyError):
    collect([(1, {"a": 1})], lambda n, row: row["b"])


def test_a_file_without_rows_is_refused():
  with pytest.raises(ValueError, match=r"^set: no number in it; wanted an object in each row$"):
    collect([], lambda n, row: row)
