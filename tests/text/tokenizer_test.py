"""Tokenizers: digits, bytes, symbols, streams."""

import pytest

from r1.text import tokenizer as tokenizers

SYMBOLS = ("<think>", "</think>")
LINES = ["what is 12 + 7 ?", "<think>so 19</think>", "12 + 7 是多少？", "check 19 yes"] * 20
PROBES = (
  "12 + 345",
  " lead  two\n\n tail ",
  "é漢字🙂",
  "\t\r\n",
  "\x00",
  "",
  "unseen wörds, 1,234.5",
)


@pytest.fixture(scope="module")
def tokenizer():
  return tokenizers.load(tokenizers.train(LINES, vocab_size=360, symbols=SYMBOLS))


def pieces(tokenizer, text):
  return [tokenizer.piece(i) for i in tokenizer.encode(text)]


@pytest.mark.parametrize("text", PROBES)
def test_text_survives_the_round_trip_byte_for_byte(tokenizer, text):
  assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_digit_is_a_token_with_or_without_the_space_before_it(tokenizer):
  assert pieces(tokenizer, "12") == ["1", "2"]
  assert pieces(tokenizer, " 12") == ["\u25811", "2"]
  assert pieces(tokenizer, "<think>90") == ["<think>", "9", "0"]


def test_symbols_are_one_id_each_and_a_part_of_one_is_not(tokenizer):
  assert set(tokenizer.symbols) == set(SYMBOLS)
  assert tokenizer.encode("<think>") == [tokenizer.symbols["<think>"]]
  assert tokenizer.symbols["<think>"] not in tokenizer.encode("<think")


def test_a_character_never_seen_becomes_its_bytes(tokenizer):
  # U+1F642 is F0 9F 99 82 in UTF-8.
  assert pieces(tokenizer, "🙂") == ["<0xF0>", "<0x9F>", "<0x99>", "<0x82>"]


def test_control_ids_add_no_text_and_encode_adds_no_control_ids(tokenizer):
  ids = tokenizer.encode("12")
  assert not {tokenizer.pad, tokenizer.bos, *tokenizer.eos} & set(ids)
  assert tokenizer.decode([tokenizer.bos, *ids, *tokenizer.eos, tokenizer.pad]) == "12"


def test_the_text_of_a_control_id_does_not_make_one(tokenizer):
  """A prompt that spells `</s>` must not end the sequence."""
  assert tokenizer.eos[0] not in tokenizer.encode(tokenizer.piece(tokenizer.eos[0]))


def test_a_stream_never_shows_half_a_character(tokenizer):
  # 'é' is two bytes and '🙂' four: the text may only appear with the last byte of each.
  shown = list(tokenizers.stream(tokenizer, tokenizer.encode("1é🙂")))
  assert shown == ["1", "é", "🙂"]


def test_a_stream_cut_inside_a_character_still_equals_decode(tokenizer):
  for cut in range(1, 8):
    ids = tokenizer.encode("1é🙂2")[:cut]
    assert "".join(tokenizers.stream(tokenizer, iter(ids))) == tokenizer.decode(ids)


def test_a_broken_byte_between_characters_does_not_swallow_the_next(tokenizer):
  half = tokenizer.encode("🙂")[:2]
  ids = [*half, *tokenizer.encode("7")]
  assert "".join(tokenizers.stream(tokenizer, ids)) == tokenizer.decode(ids) == "\ufffd7"


def test_the_same_lines_give_the_same_model_and_digest():
  one, two = (tokenizers.train(LINES, vocab_size=360, symbols=SYMBOLS) for _ in range(2))
  assert one == two
  assert tokenizers.load(one).digest == tokenizers.load(two).digest
  other = tokenizers.train([*LINES, "more"], vocab_size=360, symbols=SYMBOLS)
  assert tokenizers.load(other).digest != tokenizers.load(one).digest


def test_a_long_line_is_not_passed_over():
  """SentencePiece drops lines above 4,192 bytes unless told otherwise."""
  line = "zebra " * 2000
  tokenizer = tokenizers.load(tokenizers.train([line], vocab_size=330, symbols=()))
  assert "zebra" in "".join(tokenizer.pieces)


def test_a_model_loads_from_its_file_too(tokenizer, tmp_path):
  path = tmp_path / "tokenizer.model"
  path.write_bytes(tokenizer.files["tokenizer.model"])
  again = tokenizers.load(path)
  assert (again.digest, again.size) == (tokenizer.digest, tokenizer.size)
  assert again.encode("12 + 7") == tokenizer.encode("12 + 7")


def test_begin_of_text_is_what_stands_around_a_text(tokenizer):
  ids = tokenizer.encode("12 + 7")
  assert tokenizers.with_special(tokenizer, ids) == [tokenizer.bos, *ids]


def test_an_embedding_without_rows_for_all_ids_is_refused_with_both_numbers(tokenizer):
  tokenizers.check(tokenizer, tokenizer.size)
  tokenizers.check(tokenizer, tokenizer.size + 64)  # padded vocabularies have more
  short = tokenizer.size - 1
  with pytest.raises(ValueError, match=f"has {tokenizer.size} ids, but the embedding {short} rows"):
    tokenizers.check(tokenizer, short)


def test_a_digest_is_of_names_and_contents_and_not_of_their_order():
  one = tokenizers.digest({"a": b"1", "b": b"2"})
  assert one == tokenizers.digest({"b": b"2", "a": b"1"})
  for other in (
    {"a": b"12", "b": b""},
    {"a": b"1", "c": b"2"},
    {"a": b"1"},
    {"a": b"2", "b": b"1"},
  ):
    assert tokenizers.digest(other) != one


def test_a_file_that_is_no_model_says_so(tmp_path):
  path = tmp_path / "poem.model"
  path.write_text("Roses are red")
  with pytest.raises(ValueError, match=r"poem\.model: no SentencePiece model"):
    tokenizers.load(path)


def test_a_vocabulary_that_is_too_small_is_refused_with_the_number_it_needs():
  # 4 control ids + 256 bytes + 20 digits + newline + 2 symbols = 283.
  with pytest.raises(ValueError, match="vocab_size=283: 283 ids are taken"):
    tokenizers.train(LINES, vocab_size=283, symbols=SYMBOLS)
  with pytest.raises(ValueError, match="vocab_size=285"):
    tokenizers.train(LINES, vocab_size=285, symbols=SYMBOLS)


@pytest.mark.parametrize("symbol", ["7", "\n", "a b", ""])
def test_symbols_that_cannot_be_kept_are_refused(symbol):
  with pytest.raises(ValueError, match="symbols"):
    tokenizers.train(LINES, vocab_size=360, symbols=[symbol])
