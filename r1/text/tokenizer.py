"""Tokenizers: text to ids and back, byte for byte.

A `Tokenizer` is an encoder and a table of bytes per id, so a second backend is a second `load`:
here SentencePiece, in `hf_tokenizer` the folder of a Hugging Face checkpoint.
"""

import codecs
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import sentencepiece

PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
MODEL_FILE = "tokenizer.model"
SPACE = "\u2581"  # SentencePiece writes a space so
DIGITS = tuple(f"{space}{digit}" for space in ("", SPACE) for digit in range(10))
RESERVED = (*DIGITS, "\n")
REPLACEMENT = "\ufffd".encode()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
  """Text to ids and back; `encode` never adds begin or end of text."""

  size: int  # one more than the highest id
  pad: int
  bos: int | None
  eos: tuple[int, ...]  # every id that ends a response; the first is the one that is written
  symbols: dict[str, int]  # texts that are always one id
  files: dict[str, bytes]  # all it was loaded from, by name: written out, they load again
  digest: str  # sha256 of `files`
  encoder: Callable[[str], list[int]]
  pieces: tuple[str, ...]
  table: tuple[bytes, ...]  # what each id adds to the text; control ids add nothing
  before: tuple[int, ...]  # what the tokenizer itself would put before a text,
  after: tuple[int, ...]  # and after it
  needs_bos: bool  # a text starts with `bos`; False as well where the files forbid it
  names: dict[str, str]  # a chat template's bos_token, eos_token, pad_token, unk_token
  templates: dict[str, str]  # chat templates by name; the usual one is "default"

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
  bos = processor.bos_id() if processor.bos_id() >= 0 else None
  pad = processor.pad_id() if processor.pad_id() >= 0 else processor.unk_id()
  named = {"bos_token": bos, "eos_token": processor.eos_id(), "pad_token": pad}
  files = {MODEL_FILE: raw}
  return Tokenizer(
    size=len(pieces),
    pad=pad,
    bos=bos,
    eos=(processor.eos_id(),),
    symbols=_symbols(processor, pieces),
    files=files,
    digest=digest(files),
    encoder=processor.encode,
    pieces=pieces,
    table=tuple(_bytes(processor, i, piece) for i, piece in enumerate(pieces)),
    before=() if bos is None else (bos,),
    after=(),
    needs_bos=bos is not None,
    names={name: pieces[i] for name, i in named.items() if i is not None},
    templates={},
  )


def digest(files: Mapping[str, bytes]) -> str:
  """sha256 over names and contents, whatever their order."""
  whole = hashlib.sha256()
  for name, content in sorted(files.items()):
    whole.update(f"{name} {len(content)}\n".encode() + content)
  return whole.hexdigest()


def identity(tokenizer: Tokenizer) -> dict[str, object]:
  """What makes the ids of two tokenizers mean the same: their number, their pieces, their ends.

  Not the files: a checkpoint that was exported from a model has more of them than the model.
  """
  pieces = hashlib.sha256("\n".join(tokenizer.pieces).encode()).hexdigest()
  ends = {"begin": tokenizer.bos, "end": tokenizer.eos[0]}
  return {"ids": tokenizer.size, "pieces": pieces[:16]} | ends


def save(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
  """Writes the files it was loaded from; `hf_tokenizer.load(folder)` gives the same again."""
  for name, content in tokenizer.files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def with_special(tokenizer: Tokenizer, ids: Iterable[int]) -> list[int]:
  """The ids of a text between those the tokenizer's own files put around every text.

  transformers' `tokenizer(text).input_ids` is `with_special(tokenizer, tokenizer.encode(text))`.
  A rendered chat template has its own: `chat.encode_chat`.
  """
  return [*tokenizer.before, *ids, *tokenizer.after]


def check(tokenizer: Tokenizer, rows: int) -> None:
  """Raises ValueError where an embedding of `rows` rows lacks some of the tokenizer's ids."""
  if tokenizer.size > rows:
    raise ValueError(
      f"the tokenizer has {tokenizer.size} ids, but the embedding {rows} rows:"
      " take the tokenizer of this checkpoint, or add rows to its embedding"
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
