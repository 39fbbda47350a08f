"""Conversations as a TFDS data set on array_record, written and read without TensorFlow."""

import contextlib
import io
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any


def write(folder: pathlib.Path, name: str, rows: Sequence[dict]) -> pathlib.Path:
  """The directory that `tfds.builder_from_directory` takes: FOLDER/NAME/1.0.0, one split "train".

  rows: {"id", "messages": [{"role", "content"}, ...], "meta": {...}}, ids distinct. A row's `meta`
  is a JSON text. What stood at FOLDER/NAME is replaced.
  """
  import tensorflow_datasets as tfds  # slow to import, and few need it

  text = tfds.features.Text
  message = tfds.features.Sequence({"role": text(), "content": text()})
  features = tfds.features.FeaturesDict({"id": text(), "messages": message, "meta": text()})

  class Conversations(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      for row in rows:
        meta = json.dumps(row["meta"], ensure_ascii=False)
        yield row["id"], {"id": row["id"], "messages": row["messages"], "meta": meta}

  Conversations.name = name
  shutil.rmtree(folder / name, ignore_errors=True)
  builder: Any = Conversations(data_dir=folder, file_format="array_record")
  silent = io.StringIO()  # progress bars, and where it writes
  with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent):
    builder.download_and_prepare()
  return pathlib.Path(builder.data_path)


def read(folder: pathlib.Path) -> list[dict]:
  """The rows of such a directory, in the order of their ids."""
  import tensorflow_datasets as tfds

  builder: Any = tfds.builder_from_directory(folder)
  rows = [_row(row) for row in builder.as_data_source(split="train")]
  return sorted(rows, key=lambda row: row["id"])


def _row(row: dict) -> dict:
  said = row["messages"]
  if isinstance(said, dict):
    said = [dict(zip(said, pair)) for pair in zip(*said.values())]
  messages = [{"role": m["role"].decode(), "content": m["content"].decode()} for m in said]
  return {"id": row["id"].decode(), "messages": messages, "meta": json.loads(row["meta"].decode())}
