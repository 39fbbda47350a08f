"""Tokenizers of checkpoints: the ids and the bytes that transformers gives them."""

import gzip
import json
import random

import pytest

from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from tests.text import checkpoints

TEXTS = (
  "",
  "What is 12 + 345, please? It's 357; we'll see.",
  "1234567 8 90 3.14159",
  "学生在想：十二加三百四十五等于多少？これはテストです。",
  "def f(x):\n\tif x:\r\n        return x**2  # done\n\n\n",
  "🙂🚀👩‍👩‍👧 café cafe\u0301 Straße русский עברית ﷺ",
  "  lead  two\u00a0spaces\u3000wide   \n  tail  ",
  "\x00\x07\x1b\u2581\ufeff\u2028\ufffd\U0010ffff",
  "<think>so</think> < think> <|im_start|>user <|eot_id|> </s> <|im_start",
  "<\uff5cUser\uff5c>hi<\uff5cAssistant\uff5c><think>\nso\n</think>\n\n4",
)


@pytest.fixture(scope="module", params=checkpoints.FAMILIES)
def folder(request, tmp_path_factory):
  return checkpoints.folder(tmp_path_factory.mktemp("checkpoint"), request.param)


@pytest.fixture(scope="module")
def tokenizer(folder):
  return hf_tokenizer.load(folder)


@pytest.fixture(scope="module")
def rust():
  return checkpoints.pipeline("llama3")


def ids_of(reference, text):
  return reference(text, add_special_tokens=False).input_ids


def shown(reference, ids):
  return reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


# Ids and text ----------------------------------------------------------------------------------


def test_texts_have_the_ids_that_transformers_gives_them(folder, tokenizer):
  reference = checkpoints.reference(folder)
  for text in TEXTS:
    assert tokenizer.encode(text) == ids_of(reference, text), text
    assert tokenizers.with_special(tokenizer, tokenizer.encode(text)) == reference(text).input_ids


def test_ids_have_the_text_that_transformers_gives_them(folder, tokenizer):
  reference = checkpoints.reference(folder)
  for text in TEXTS:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == shown(reference, ids)


def test_any_ids_have_the_text_that_transformers_gives_them(folder, tokenizer):
  """Ids drawn by a sampler: characters cut anywhere, control ids in between."""
  reference, draw = checkpoints.reference(folder), random.Random(0)
  for _ in range(300):
    ids = draw.choices(range(tokenizer.size), k=draw.randrange(1, 12))
    assert tokenizer.decode(ids) == shown(reference, ids), ids


def test_a_book_has_the_ids_that_transformers_gives_it(folder, tokenizer, test_data):
  reference = checkpoints.reference(folder)
  path = test_data / "text" / "whitehead_introduction_to_mathematics.tex.gz"
  book = gzip.decompress(path.read_bytes()).decode()[:60_000]
  assert tokenizer.encode(book) == ids_of(reference, book)
  assert tokenizer.decode(tokenizer.encode(book)) == book


def test_text_survives_the_round_trip(tokenizer):
  controls = {piece for piece, add in zip(tokenizer.pieces, tokenizer.table) if not add}
  for text in TEXTS:
    if "e\u0301" in text or any(piece in text for piece in controls):
      continue  # Qwen writes an accent in one character; control ids add no text
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_are_grouped_as_the_family_groups_them(folder, tokenizer):
  longest = max(len(piece) for piece in tokenizer.pieces if piece.isdecimal())
  assert longest == (1 if folder.name == "qwen2" else 3)


def test_control_ids_add_no_text_and_encode_adds_no_control_ids(tokenizer):
  ids = tokenizer.encode("12 = 12")
  assert not {tokenizer.bos, tokenizer.pad, *tokenizer.eos} & set(ids)
  assert tokenizer.decode([*tokenizer.eos, *ids, tokenizer.pad, *tokenizer.before]) == "12 = 12"


def test_the_text_of_an_added_token_is_its_one_id(folder, tokenizer):
  bos, eos, pad, others = checkpoints.CONTROLS[folder.name]
  for text in filter(None, (bos, eos, pad, *others, *checkpoints.THINK)):
    assert tokenizer.encode(f"a{text}b")[1:-1] == [tokenizer.symbols[text]]
  assert tokenizer.decode(tokenizer.encode("<think>4</think>")) == "<think>4</think>"


def test_the_alphabet_of_bytes_by_hand():
  alphabet = hf_tokenizer.byte_alphabet()
  assert [alphabet[c] for c in "A~¡ÿ"] == [0x41, 0x7E, 0xA1, 0xFF]
  # Those that do not print, in order: 0x00-0x20 (33), 0x7F-0xA0 (34), 0xAD (1).
  assert [alphabet[chr(256 + n)] for n in (0, 10, 32, 33, 66, 67)] == [0, 10, 32, 127, 160, 173]
  assert sorted(alphabet.values()) == list(range(256))


def test_a_stream_never_shows_half_a_character(tokenizer):
  text = "1é学🙂👩‍👩‍👧 2"
  parts = list(tokenizers.stream(tokenizer, tokenizer.encode(text)))
  assert "".join(parts) == text
  assert len(parts) > 4
  assert not any("\ufffd" in part for part in parts)


def test_any_stream_joins_to_what_decode_gives(tokenizer):
  draw = random.Random(1)
  for _ in range(200):
    ids = draw.choices(range(tokenizer.size), k=10)
    assert "".join(tokenizers.stream(tokenizer, ids)) == tokenizer.decode(ids)


# Added tokens ----------------------------------------------------------------------------------

ADDED = {
  "plain": {},
  "normalized": {"normalized": True},
  "lstrip": {"lstrip": True},
  "rstrip": {"rstrip": True},
  "single_word": {"single_word": True},
  "special": {"special": True, "lstrip": True, "rstrip": True},
}


@pytest.mark.parametrize("options", ADDED.values(), ids=ADDED)
@pytest.mark.parametrize("where", ["tokenizer.json", "tokenizer_config.json"])
def test_added_tokens_take_text_as_transformers_lets_them(tmp_path, options, where):
  """Normalised text has its accents otherwise, and "éà" is also how two bytes are written."""
  import tokenizers as library

  rust = checkpoints.pipeline("qwen2")
  settings = checkpoints.settings("qwen2")
  names = ["[ÀB]", "A\u0300!", "éà", "two words"]
  added = [library.AddedToken(name, **{"normalized": False} | options) for name in names]
  start = rust.get_vocab_size()
  if where == "tokenizer.json":
    rust.add_tokens(added)
  else:
    settings["added_tokens_decoder"] = {
      str(start + n): {
        **{flag: getattr(token, flag) for flag in hf_tokenizer.FLAGS},
        "content": token.content,
      }
      for n, token in enumerate(added)
    }
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  assert [tokenizer.symbols[name] for name in names] == list(range(start, start + 4))
  for text in (
    "x [ÀB] y",
    "[ÀB][ÀB]",
    "A\u0300! \u00c0!",
    "cafééà éà",
    "two words twotwo words",
    *TEXTS,
  ):
    ids = tokenizer.encode(text)
    assert ids == ids_of(reference, text), text
    assert tokenizer.decode(ids) == shown(reference, ids), text


def test_special_tokens_that_only_the_settings_name_are_added_as_transformers_does(tmp_path, rust):
  settings = checkpoints.settings("llama3") | {
    "pad_token": "<pad>",
    "unk_token": {"content": "<unk>", "__type": "AddedToken"},
    "additional_special_tokens": ["<tool>", {"content": "<call>", "__type": "AddedToken"}],
  }
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  assert tokenizer.pad == reference.pad_token_id == rust.get_vocab_size() + 1  # after <unk>
  assert tokenizer.size == len(reference)
  assert tokenizer.names == reference.special_tokens_map
  text = "a<pad> <tool> b<call><unk>"
  assert tokenizer.encode(text) == ids_of(reference, text)
  assert tokenizer.decode(tokenizer.encode(text)) == shown(reference, ids_of(reference, text))


@pytest.mark.parametrize("declared", ["nothing", "as it is", "otherwise"])
def test_a_token_named_as_padding_shows_no_text_whatever_else_is_said_of_it(
  tmp_path, rust, declared
):
  i = rust.token_to_id("<think>")
  fields = dict.fromkeys(hf_tokenizer.FLAGS, False) | {"content": "<think>"}
  fields |= {"rstrip": True} if declared == "otherwise" else {}
  added = {} if declared == "nothing" else {"added_tokens_decoder": {str(i): fields}}
  settings = checkpoints.settings("llama3") | {"pad_token": "<think>"} | added
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  ids = tokenizer.encode("a<think> b")
  assert ids == ids_of(reference, "a<think> b")
  assert tokenizer.decode(ids).replace(" ", "") == "ab"
  assert tokenizer.decode(ids) == shown(reference, ids)


def test_settings_that_give_a_token_another_id_are_refused(tmp_path, rust):
  wrong = {"9999": {"content": "<new>", "special": False}}
  settings = checkpoints.settings("llama3") | {"added_tokens_decoder": wrong}
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  with pytest.raises(ValueError, match=r"says that '<new>' is id 9999, but .* is 600; take both"):
    hf_tokenizer.load(folder)


def test_ids_without_a_token_count_and_add_no_text(tmp_path, rust):
  described = json.loads(rust.to_str())
  described["model"]["vocab"]["unseen"] = 700
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=checkpoints.settings("llama3"))
  (folder / "tokenizer.json").write_text(json.dumps(described))
  tokenizer = hf_tokenizer.load(folder)
  assert tokenizer.size == 701
  assert tokenizer.decode([650, *tokenizer.encode("4"), 700]) == "4unseen"
  assert checkpoints.reference(folder).decode([650, 700]) == "unseen"


def test_limits_saved_in_the_file_cut_and_pad_nothing(tmp_path):
  rust = checkpoints.pipeline("deepseek")
  rust.enable_truncation(4)
  rust.enable_padding(length=64, pad_token="!", pad_id=0)
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=checkpoints.settings("deepseek"))
  tokenizer = hf_tokenizer.load(folder)
  assert tokenizer.decode(tokenizer.encode("one two three four five")) == "one two three four five"
  assert tokenizer.encode("one two three four five") == ids_of(
    checkpoints.reference(folder), "one two three four five"
  )


# Begin and end of text -------------------------------------------------------------------------


@pytest.mark.parametrize(
  "flags", [{}, {"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False}]
)
@pytest.mark.parametrize("steps", ["none", "bytes", "both", "sequence"])
def test_what_stands_around_a_text_is_what_transformers_puts_there(tmp_path, flags, steps):
  from tokenizers import processors

  rust = checkpoints.pipeline("llama3")
  bos, eos, _, _ = checkpoints.CONTROLS["llama3"]
  both = processors.TemplateProcessing(
    single=f"{bos} $A {eos} {eos}",
    special_tokens=[(text, rust.token_to_id(text)) for text in (bos, eos)],
  )
  if steps == "none":
    described = json.loads(rust.to_str()) | {"post_processor": None}
    rust = type(rust).from_str(json.dumps(described))
  else:
    plain = processors.ByteLevel()
    rust.post_processor = {
      "bytes": plain,
      "both": both,
      "sequence": processors.Sequence([plain, both]),
    }[steps]
  settings = checkpoints.settings("llama3") | flags
  folder = checkpoints.write(tmp_path, rust, tokenizer_config=settings)
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  around = 3 if steps in ("both", "sequence") else 0
  for text in ("", "hi", f"{bos}hi{eos}"):
    ids = tokenizer.encode(text)
    assert tokenizers.with_special(tokenizer, ids) == reference(text).input_ids
    assert len(tokenizers.with_special(tokenizer, ids)) == len(ids) + around
  assert tokenizer.needs_bos == (bool(around) or flags.get("add_bos_token", True))
