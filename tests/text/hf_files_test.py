"""The files of a checkpoint's tokenizer: special ids, templates, what is carried, what refused."""

import dataclasses
import json

import pytest

from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from tests.text import checkpoints


@pytest.fixture(scope="module")
def rust():
  return checkpoints.pipeline("llama3")


def load_with(tmp_path, rust, **files):
  return hf_tokenizer.load(checkpoints.write(tmp_path, rust, **files))


def test_every_end_of_text_counts_and_the_tokenizers_own_is_first(tmp_path, rust):
  """Llama 3 has three; one that is missed reads as a response that was cut (TRL #7039)."""
  settings, eot = checkpoints.settings("llama3"), rust.token_to_id("<|eot_id|>")
  end = rust.token_to_id("<|end_of_text|>")
  files = {"tokenizer_config": settings, "config": {"eos_token_id": 5}}
  assert load_with(tmp_path, rust, **files).eos == (eot, 5)
  listed = files | {"generation_config": {"eos_token_id": [end, 3, eot]}}
  assert load_with(tmp_path, rust, **listed).eos == (eot, end, 3)
  single = files | {"generation_config": {"eos_token_id": end}}
  assert load_with(tmp_path, rust, **single).eos == (eot, end)
  nameless = single | {"tokenizer_config": settings | {"eos_token": None}}
  assert load_with(tmp_path, rust, **nameless).eos == (end,)


def test_padding_falls_back_to_the_model_and_then_to_end_of_text(tmp_path, rust):
  settings = checkpoints.settings("llama3")
  eot = rust.token_to_id("<|eot_id|>")
  assert load_with(tmp_path, rust, tokenizer_config=settings).pad == eot
  assert (
    load_with(tmp_path, rust, tokenizer_config=settings, config={"pad_token_id": -1}).pad == eot
  )
  files = {"tokenizer_config": settings, "config": {"pad_token_id": 6}}
  assert load_with(tmp_path, rust, **files).pad == 6
  files["generation_config"] = {"pad_token_id": 7}
  assert load_with(tmp_path, rust, **files).pad == 7
  files["tokenizer_config"] = settings | {"pad_token": "<|end_of_text|>"}
  assert load_with(tmp_path, rust, **files).pad == rust.token_to_id("<|end_of_text|>")


def test_a_model_does_not_give_its_tokenizer_a_begin_of_text(tmp_path):
  """Qwen's config.json has a bos_token_id; no text of Qwen's ever began with it."""
  rust, settings = checkpoints.pipeline("qwen2"), checkpoints.settings("qwen2")
  ids = {"bos_token_id": 7, "eos_token_id": 8}
  tokenizer = load_with(tmp_path, rust, tokenizer_config=settings, generation_config=ids)
  assert tokenizer.bos is None
  assert not tokenizer.needs_bos
  del settings["bos_token"]
  assert load_with(tmp_path, rust, tokenizer_config=settings, generation_config=ids).bos is None
  bare = load_with(tmp_path / "bare", rust, generation_config=ids)
  assert (bare.bos, bare.eos, bare.pad) == (7, (8,), 8)


def test_old_checkpoints_name_their_tokens_in_special_tokens_map(tmp_path, rust):
  names = {"bos_token": {"content": "<|begin_of_text|>"}, "eos_token": "<|end_of_text|>"}
  settings = {"model_max_length": 99}
  folder = checkpoints.write(tmp_path, rust, special_tokens_map=names, tokenizer_config=settings)
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  assert tokenizer.bos == reference.bos_token_id == rust.token_to_id("<|begin_of_text|>")
  assert tokenizer.eos == (reference.eos_token_id,)


def test_saved_files_load_the_same_tokenizer(tmp_path, rust):
  """config.json stays behind with its model; what was taken from it must not."""
  folder = checkpoints.write(
    tmp_path / "a",
    rust,
    tokenizer_config=checkpoints.settings("llama3"),
    generation_config={"temperature": 0.6},
    config={"eos_token_id": [3, 4], "pad_token_id": 5, "hidden_size": 8},
  )
  (folder / "additional_chat_templates").mkdir()
  (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
  first = hf_tokenizer.load(folder)
  tokenizers.save(first, tmp_path / "b")
  second = hf_tokenizer.load(tmp_path / "b")
  assert not (tmp_path / "b" / "config.json").exists()
  kept = json.loads((tmp_path / "b" / "generation_config.json").read_text())
  assert kept == {"temperature": 0.6, "eos_token_id": [3, 4], "pad_token_id": 5}
  for field in dataclasses.fields(first):
    if field.name != "encoder":
      assert getattr(first, field.name) == getattr(second, field.name), field.name
  assert first.encode(checkpoints.TEXT) == second.encode(checkpoints.TEXT)
  (folder / "generation_config.json").write_text('{"temperature": 0.7}')
  assert hf_tokenizer.load(folder).digest != first.digest


# Chat templates --------------------------------------------------------------------------------


def test_templates_come_from_the_settings_or_from_files_of_their_own(tmp_path, rust):
  settings = checkpoints.settings("llama3") | {"chat_template": "one"}
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  assert hf_tokenizer.load(folder).templates == {"default": "one"}
  named = [{"name": "default", "template": "two"}, {"name": "tool_use", "template": "three"}]
  checkpoints.write(tmp_path, rust, tokenizer_config=settings | {"chat_template": named})
  assert hf_tokenizer.load(folder).templates == {"default": "two", "tool_use": "three"}
  (folder / "chat_template.jinja").write_text("four\n")
  assert hf_tokenizer.load(folder).templates["default"] == "four\n"
  del settings["chat_template"]
  (folder / "chat_template.jinja").unlink()
  checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  assert hf_tokenizer.load(folder).templates == {}


def test_a_template_in_a_file_is_read_as_transformers_reads_it(tmp_path, rust):
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=checkpoints.settings("llama3"))
  (folder / "chat_template.jinja").write_text("{{ bos_token }}é\n", encoding="utf-8")
  assert (
    hf_tokenizer.load(folder).templates["default"] == checkpoints.reference(folder).chat_template
  )


# SentencePiece ---------------------------------------------------------------------------------


@pytest.fixture
def pieces(tmp_path):
  model = tokenizers.train(["what is 12 + 7 ?", "so 19"] * 20, vocab_size=330, symbols=("<think>",))
  (tmp_path / "tokenizer.model").write_bytes(model)
  return tmp_path


def test_a_lone_sentencepiece_model_is_read_as_one(pieces):
  tokenizer, plain = hf_tokenizer.load(pieces), tokenizers.load(pieces / "tokenizer.model")
  assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (1, (2,), 0)
  assert tokenizer.encode("12 + 7") == plain.encode("12 + 7")
  assert (tokenizer.digest, tokenizer.names) == (plain.digest, plain.names)
  assert tokenizers.with_special(tokenizer, [9]) == tokenizers.with_special(plain, [9]) == [1, 9]


def test_settings_beside_a_sentencepiece_model_count(pieces):
  settings = {"add_bos_token": False, "add_eos_token": True, "pad_token": "<think>"}
  (pieces / "tokenizer_config.json").write_text(json.dumps(settings))
  (pieces / "generation_config.json").write_text('{"eos_token_id": [9, 2]}')
  tokenizer = hf_tokenizer.load(pieces)
  assert tokenizers.with_special(tokenizer, [7]) == [7, 2]
  assert tokenizer.eos == (2, 9)
  assert tokenizer.pad == tokenizer.symbols["<think>"]
  assert not tokenizer.needs_bos


def test_tokens_that_a_sentencepiece_model_lacks_are_refused(pieces):
  (pieces / "tokenizer_config.json").write_text('{"pad_token": "<pad0>"}')
  with pytest.raises(ValueError, match=r"lacks \['<pad0>'\] of tokenizer_config.json"):
    hf_tokenizer.load(pieces)
  (pieces / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"5000": {}}}')
  with pytest.raises(ValueError, match=r"lacks ids \['5000'\] of tokenizer_config.json"):
    hf_tokenizer.load(pieces)


# Faults ----------------------------------------------------------------------------------------


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
  with pytest.raises(
    ValueError, match=rf"{tmp_path} holds neither tokenizer\.json nor tokenizer\.m"
  ):
    hf_tokenizer.load(tmp_path)


@pytest.mark.parametrize(
  "name",
  [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
  ],
)
@pytest.mark.parametrize("content", [b'{"a": 1', b"\xff\xfe", b"[1]", b""])
def test_a_broken_file_is_named(tmp_path, rust, name, content):
  files = {} if name == "special_tokens_map.json" else {"tokenizer_config": {"eos_token": "!"}}
  folder = checkpoints.write(tmp_path, rust, **files)
  (folder / name).write_bytes(content)
  with pytest.raises(ValueError, match=rf"{folder / name} (is no JSON|holds a list)"):
    hf_tokenizer.load(folder)


def test_a_file_with_another_structure_is_named(tmp_path, rust):
  described = json.loads(rust.to_str())
  described["model"]["merges"] = [["never", "seen"]]
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=checkpoints.settings("llama3"))
  (folder / "tokenizer.json").write_text(json.dumps(described))
  with pytest.raises(
    ValueError, match=rf"{folder / 'tokenizer.json'}: the tokenizers library cann"
  ):
    hf_tokenizer.load(folder)


@pytest.mark.parametrize(
  ("change", "fault"),
  [
    ({"model": {"type": "Unigram"}}, "is a Unigram tokenizer; this library reads byte-level BPE"),
    ({"model": {"type": "WordPiece"}}, "is a WordPiece tokenizer"),
    (
      {"model": {"type": "BPE", "byte_fallback": True}},
      "is a BPE of characters that falls back to bytes",
    ),
    ({"decoder": {"type": "WordPiece"}}, "decodes through WordPiece"),
    ({"decoder": None}, "decodes through None"),
    (
      {"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip"}]}},
      "decodes through Strip",
    ),
  ],
)
def test_other_kinds_of_tokenizer_are_refused_by_name(tmp_path, rust, change, fault):
  folder = checkpoints.write(tmp_path, rust)
  (folder / "tokenizer.json").write_text(json.dumps(json.loads(rust.to_str()) | change))
  with pytest.raises(ValueError, match=rf"{folder / 'tokenizer.json'} {fault}"):
    hf_tokenizer.load(folder)


@pytest.mark.parametrize(
  ("file", "content", "fault"),
  [
    ("tokenizer_config", {"eos_token": 7}, "eos_token is 7, where the text of a token is wanted"),
    ("tokenizer_config", {"eos_token": None}, "names no end of text"),
    ("tokenizer_config", {"eos_token": "!", "chat_template": 3}, "chat_template is a int"),
    ("tokenizer_config", {"eos_token": "!", "chat_template": ["x"]}, "chat_template lists 'x'"),
    ("generation_config", {"eos_token_id": [1, 600]}, r"600 is no id of .* which has 0 to 599"),
    ("generation_config", {"eos_token_id": "</s>"}, "'</s>' is no id"),
    ("generation_config", {"eos_token_id": True}, "True is no id"),
    ("config", {"eos_token_id": 600}, "600 is no id"),
  ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, rust, file, content, fault):
  folder = checkpoints.write(tmp_path, rust, **{file: content})
  with pytest.raises(ValueError, match=fault) as error:
    hf_tokenizer.load(folder)
  assert str(folder) in str(error.value)
