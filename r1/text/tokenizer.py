"""Tokenizers: text to ids and back, byte for byte.

A `Tokenizer` is an encoder and a table of bytes per id, so a second backend is a second `load`.
"""

import codecs
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import sentencepiece

PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
SPACE = "\u2581"  # SentencePiece writes a space so
DIGITS = tuple(f"{space}{digit}" for space in ("", SPACE) for digit in range(10))
RESERVED = (*DIGITS, "\n")
REPLACEMENT = "\ufffd".encode()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
  """Text to ids and back; `encode` never adds begin or end of text."""

  size: int
  pad: int
  bos: int | None
  eos: tuple[int, ...]
  symbols: dict[str, int]  # texts that are always one id
  model: bytes  # the file it was loaded from
  digest: str  # sha256 of `model`
  encoder: Callable[[str], list[int]]
  pieces: tuple[str, ...]
  table: tuple[bytes, ...]  # what each id adds to the text; control ids add nothing

  def encode(self, text: str) -> list[int]:
    return self.encoder(text)

  def decode(self, ids: Iterable[int]) -> str:
    """Control ids are dropped; bytes that are no UTF-8 show as U+FFFD."""
    table = self.table
    return b"".join([table[i] for i in ids]).decode("utf-8", "replace")

  def piece(self, id: int) -> str:
    return self.pieces[id]


def train(lines: Iterable[str], *, vocab_size: int, symbols: Sequence[str]) -> bytes:
  """Learns a byte-pair SentencePiece model; the same lines give the same bytes.

  Every digit is a token of its own, alone or with the space before it, and so is a newline.
  The vocabulary is smaller than `vocab_size` where the lines offer no more merges. U+2581, which
  SentencePiece writes for a space, reads back as a space.
  """
  if clash := sorted(set(symbols) & set(RESERVED)):
    raise ValueError(f"symbols {clash} are in every vocabulary already; leave them out")
  if spaced := sorted(s for s in symbols if not s or SPACE in s or " " in s):
    raise ValueError(f"symbols {spaced} are empty or hold a space, which SentencePiece cannot keep")
  reserved = 4 + 256 + len(RESERVED) + len(symbols)  # control, bytes, digits and newline
  if vocab_size <= reserved:
    raise ValueError(f"vocab_size={vocab_size}: {reserved} ids are taken before the first merge")
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines),
      model_writer=model,
      model_type="bpe",
      vocab_size=vocab_size,
      hard_vocab_limit=False,
      character_coverage=1.0,
      byte_fallback=True,
      user_defined_symbols=[*RESERVED, *symbols],
      normalization_rule_name="identity",
      add_dummy_prefix=False,
      remove_extra_whitespaces=False,
      max_sentence_length=1 << 20,
      pad_id=PAD,
      bos_id=BOS,
      eos_id=EOS,
      unk_id=UNKNOWN,
      num_threads=1,
      minloglevel=2,
    )
  except RuntimeError as error:  # too few ids for the characters, or no lines
    raise ValueError(f"vocab_size={vocab_size}: {error}") from error
  return model.getvalue()


def load(model: bytes | str | os.PathLike) -> Tokenizer:
  """A SentencePiece model, from its bytes or its file."""
  raw = model if isinstance(model, bytes) else pathlib.Path(model).read_bytes()
  try:
    processor = sentencepiece.SentencePieceProcessor(model_proto=raw)
  except RuntimeError as error:
    what = f"{len(raw)} bytes" if isinstance(model, bytes) else os.fspath(model)
    raise ValueError(f"{what}: no SentencePiece model; make one with tokenizer.train") from error
  if processor.eos_id() < 0:
    raise ValueError("this SentencePiece model has no end-of-text id; train it with one")
  pieces = tuple(processor.id_to_piece(i) for i in range(processor.get_piece_size()))
  bos = processor.bos_id()
  return Tokenizer(
    size=len(pieces),
    pad=processor.pad_id() if processor.pad_id() >= 0 else processor.unk_id(),
    bos=bos if bos >= 0 else None,
    eos=(processor.eos_id(),),
    symbols=_symbols(processor, pieces),
    model=raw,
    digest=hashlib.sha256(raw).hexdigest(),
    encoder=processor.encode,
    pieces=pieces,
    table=tuple(_bytes(processor, i, piece) for i, piece in enumerate(pieces)),
  )


def stream(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
  """The text of `ids` as it completes, never half a character; joined it is `decode(ids)`."""
  decoder = codecs.getincrementaldecoder("utf-8")("replace")
  for i in ids:
    if text := decoder.decode(tokenizer.table[i]):
      yield text
  if text := decoder.decode(b"", final=True):
    yield text


def _symbols(processor, pieces: tuple[str, ...]) -> dict[str, int]:
  """User-defined pieces: SentencePiece puts them after the control ids, before the bytes."""
  symbols = {}
  for i, piece in enumerate(pieces):
    if processor.is_byte(i):
      return symbols
    if not (processor.is_control(i) or processor.is_unknown(i) or piece in RESERVED):
      symbols[piece] = i
  return {}  # no byte pieces: the two kinds cannot be told apart


def _bytes(processor, i: int, piece: str) -> bytes:
  if processor.is_control(i):
    return b""
  if processor.is_unknown(i):
    return REPLACEMENT
  if processor.is_byte(i):
    return bytes([int(piece[1:-1], 16)])  # "<0x0A>"
  return piece.replace(SPACE, " ").encode()
