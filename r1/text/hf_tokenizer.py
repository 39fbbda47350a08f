"""Tokenizers of Hugging Face checkpoints, from the files that lie beside the weights.

tokenizer.json (byte-level BPE: Qwen, Llama 3, DeepSeek), tokenizer_config.json,
generation_config.json and the chat templates mean here what they mean to transformers 5; a folder
whose only vocabulary is a tokenizer.model is read as SentencePiece.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator

from r1.text import tokenizer as tokenizer_lib

VOCABULARY = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
OLD_SETTINGS = "special_tokens_map.json"
GENERATION = "generation_config.json"
MODEL = "config.json"
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
CARRIED = (
  VOCABULARY,
  SETTINGS,
  OLD_SETTINGS,
  GENERATION,
  TEMPLATE,
  tokenizer_lib.MODEL_FILE,
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
)
NAMES = (
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
)
ID_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MORE_SPECIAL = ("additional_special_tokens", "extra_special_tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Backend:
  """What the vocabulary alone says; `named` are the ids of NAMES, as far as there are any."""

  encoder: Callable[[str], list[int]]
  pieces: tuple[str, ...]
  table: tuple[bytes, ...]
  symbols: dict[str, int]
  named: dict[str, int]
  before: tuple[int, ...]
  after: tuple[int, ...]


def load(folder: str | pathlib.Path) -> tokenizer_lib.Tokenizer:
  """The tokenizer of a checkpoint's folder.

  End of text is the tokenizer's own first, then all of generation_config.json's (else
  config.json's). Padding is the tokenizer's, else theirs, else end of text. Begin of text is the
  tokenizer's alone where it has settings: Qwen's config.json names one that it never uses.

  Raises ValueError, with the path, where a file is missing, broken or of another kind.
  """
  folder = pathlib.Path(folder)
  settings = _settings(folder)
  if (folder / VOCABULARY).is_file():
    backend = _byte_level(folder / VOCABULARY, settings)
  elif (folder / tokenizer_lib.MODEL_FILE).is_file():
    backend = _sentencepiece(folder / tokenizer_lib.MODEL_FILE, settings)
  else:
    raise ValueError(
      f"{folder} holds neither {VOCABULARY} nor {tokenizer_lib.MODEL_FILE};"
      " give the folder of a checkpoint with its tokenizer"
    )
  generation, files = _generation(folder)
  ids = {key: _ids(generation, key, len(backend.pieces), folder) for key in ID_KEYS}
  own = backend.named
  eos = tuple(dict.fromkeys([*_some(own, "eos_token"), *ids["eos_token_id"]]))
  if not eos:
    raise ValueError(
      f"{folder} names no end of text: add eos_token to {SETTINGS} or eos_token_id to {GENERATION}"
    )
  bos = [*_some(own, "bos_token"), *([] if settings else ids["bos_token_id"])]
  pad = [*_some(own, "pad_token"), *ids["pad_token_id"], eos[0]]
  files = {
    path.relative_to(folder).as_posix(): path.read_bytes() for path in _carried(folder)
  } | files
  return tokenizer_lib.Tokenizer(
    size=len(backend.pieces),
    pad=pad[0],
    bos=bos[0] if bos else None,
    eos=eos,
    symbols=backend.symbols,
    files=files,
    digest=tokenizer_lib.digest(files),
    encoder=backend.encoder,
    pieces=backend.pieces,
    table=backend.table,
    before=backend.before,
    after=backend.after,
    needs_bos=any(i in backend.before or settings.get("add_bos_token", True) for i in bos[:1]),
    names={name: backend.pieces[i] for name, i in own.items()},
    templates=_templates(folder, settings),
  )


# Files -----------------------------------------------------------------------------------------


def _json(path: pathlib.Path) -> dict:
  """The object in a JSON file; an empty one where there is no such file."""
  if not path.is_file():
    return {}
  try:
    value = json.loads(path.read_bytes())
  except ValueError as error:  # of bytes that are no UTF-8 as well
    raise ValueError(f"{path} is no JSON ({error}); copy it again from its checkpoint") from error
  if not isinstance(value, dict):
    raise ValueError(f"{path} holds a {type(value).__name__}, where a JSON object is wanted")
  return value


def _settings(folder: pathlib.Path) -> dict:
  """tokenizer_config.json and, where it lists no tokens, what special_tokens_map.json adds.

  Every special token is there as an object with its text in `content`, or as None.
  """
  settings = _json(folder / SETTINGS)
  settings |= {} if "added_tokens_decoder" in settings else _json(folder / OLD_SETTINGS)
  for name in filter(settings.__contains__, NAMES):
    settings[name] = _token(settings[name], f"{folder / SETTINGS}: {name}")
  for name in filter(settings.get, MORE_SPECIAL):
    more = settings[name].values() if isinstance(settings[name], dict) else settings[name]
    settings[name] = [_token(token, f"{folder / SETTINGS}: {name}") for token in more]
  return settings


def _token(token, where: str) -> dict | None:
  """Tokens are written as a text, which makes them special, or as an object that says all."""
  match token:
    case None | "":
      return None
    case str(text):
      return {"content": text, "special": True}
    case {"content": str()}:
      return token
    case other:
      raise ValueError(f"{where} is {other!r}, where the text of a token is wanted")


def _names(settings: dict) -> dict[str, str]:
  return {name: settings[name]["content"] for name in NAMES if settings.get(name)}


def _carried(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  yield from (folder / name for name in CARRIED if (folder / name).is_file())
  yield from sorted((folder / MORE_TEMPLATES).glob("*.jinja"))


def _generation(folder: pathlib.Path) -> tuple[dict, dict[str, bytes]]:
  """generation_config.json with what only config.json says, and that as a file to carry along.

  config.json belongs to the model, so what a tokenizer takes from it has to travel otherwise.
  """
  generation, model = _json(folder / GENERATION), _json(folder / MODEL)
  lacking = [key for key in ID_KEYS if generation.get(key) is None]
  taken = {key: model[key] for key in lacking if model.get(key) is not None}
  whole = generation | taken
  return whole, {GENERATION: (json.dumps(whole, indent=2) + "\n").encode()} if taken else {}


def _ids(generation: dict, key: str, size: int, folder: pathlib.Path) -> list[int]:
  """One id or a list of them; -1 is an old way to write none."""
  value = generation.get(key)
  ids = [] if value is None else value if isinstance(value, list) else [value]
  if wrong := [i for i in ids if type(i) is not int or i >= size]:
    raise ValueError(
      f"{folder}: {key} is {value!r} in {GENERATION} or {MODEL}, but {wrong[0]!r} is no id of this"
      f" tokenizer, which has 0 to {size - 1}; correct the file"
    )
  return [i for i in ids if i >= 0]


def _some(named: dict[str, int], name: str) -> list[int]:
  return [named[name]] if name in named else []


def _templates(folder: pathlib.Path, settings: dict) -> dict[str, str]:
  """Chat templates by name; files of their own, as newer versions write, come before settings."""
  found: dict[str, str] = {}
  match settings.get("chat_template"):
    case None:
      pass
    case str(text):
      found["default"] = text
    case list(several):
      for entry in several:
        match entry:
          case {"name": str(name), "template": str(text)}:
            found[name] = text
          case _:
            raise ValueError(
              f"{folder / SETTINGS}: chat_template lists {entry!r}; wanted are name and template"
            )
    case other:
      raise ValueError(
        f"{folder / SETTINGS}: chat_template is a {type(other).__name__}; wanted is its text, or a"
        " list of templates with their names"
      )
  if (folder / TEMPLATE).is_file():
    found["default"] = (folder / TEMPLATE).read_text(encoding="utf-8")
  for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja")):
    found[path.stem] = path.read_text(encoding="utf-8")
  return found


# tokenizer.json --------------------------------------------------------------------------------


def byte_alphabet() -> dict[str, int]:
  """The character that stands for each byte in a byte-level vocabulary (GPT-2's table).

  Bytes that print as Latin-1 stand for themselves, the others for U+0100 and on, in order.
  """
  shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  hidden = sorted(set(range(256)) - set(shown))
  return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _byte_level(path: pathlib.Path, settings: dict) -> _Backend:
  import tokenizers  # slow, and only checkpoints need it

  _refuse_other_kinds(_json(path), path)
  try:
    rust = tokenizers.Tokenizer.from_file(str(path))
  except Exception as error:  # the library raises nothing narrower
    raise ValueError(f"{path}: the tokenizers library cannot read it ({error})") from error
  rust.no_truncation()  # a saved limit would cut texts without a word
  rust.no_padding()
  _add_declared(rust, path, settings)
  added = rust.get_added_tokens_decoder()
  ids = rust.get_vocab(with_added_tokens=True)
  pieces = [""] * (max(ids.values()) + 1)
  for piece, i in ids.items():
    pieces[i] = piece
  alphabet = byte_alphabet()
  table = [_bytes(piece, alphabet) for piece in pieces]
  for i, token in added.items():  # normalised, some of them are written otherwise
    table[i] = b"" if token.special else _bytes(rust.id_to_token(i) or pieces[i], alphabet)
  named = {name: ids[text] for name, text in _names(settings).items()}
  before, after = _around(rust, table)
  return _Backend(
    encoder=lambda text: rust.encode(text, add_special_tokens=False).ids,
    pieces=tuple(pieces),
    table=tuple(table),
    symbols={token.content: i for i, token in sorted(added.items())},
    named=named,
    before=before,
    after=after,
  )


def _refuse_other_kinds(described: dict, path: pathlib.Path) -> None:
  """Only a byte-level BPE gives every id its own bytes, whatever stands beside it."""
  model, decoder = described.get("model") or {}, described.get("decoder") or {}
  steps = decoder.get("decoders") or [decoder]
  kind = model.get("type", "BPE" if "merges" in model else "unknown")
  if kind != "BPE":
    raise ValueError(f"{path} is a {kind} tokenizer; this library reads byte-level BPE")
  if model.get("byte_fallback"):
    raise ValueError(
      f"{path} is a BPE of characters that falls back to bytes; this library reads byte-level BPE,"
      f" or the {tokenizer_lib.MODEL_FILE} of such a checkpoint, alone in its folder"
    )
  if kinds := sorted({str(step.get("type")) for step in steps} - {"ByteLevel"}):
    raise ValueError(
      f"{path} decodes through {', '.join(kinds)}; this library reads byte-level BPE, whose decoder"
      " is ByteLevel"
    )


def _add_declared(rust, path: pathlib.Path, settings: dict) -> None:
  """Adds the tokens that tokenizer_config.json has on top of tokenizer.json, or has otherwise.

  Those that it names as begin, end, padding and so on are special whatever else is said of them.
  """
  import tokenizers

  def token(fields: dict):
    options = {flag: bool(fields[flag]) for flag in FLAGS if flag in fields}
    return tokenizers.AddedToken(fields["content"], **options)

  declared = (settings.get("added_tokens_decoder") or {}).items()
  rust.add_tokens([token(fields) for _, fields in sorted(declared, key=lambda item: int(item[0]))])
  for i, fields in declared:
    if (given := rust.token_to_id(fields["content"])) != int(i):
      raise ValueError(
        f"{path.with_name(SETTINGS)} says that {fields['content']!r} is id {i}, but in {path.name}"
        f" it is {given}; take both files from the same checkpoint"
      )
  known = {added.content: added for added in rust.get_added_tokens_decoder().values()}
  for name in NAMES:
    if fields := settings.get(name):
      added = known.get(fields["content"], token(fields))
      added.special = True
      rust.add_tokens([added])
  more = [fields for name in MORE_SPECIAL for fields in settings.get(name) or [] if fields]
  rust.add_tokens([token(fields) for fields in more if fields["content"] not in known])


def _around(rust, table: list[bytes]) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """(ids before, ids after) a text: tokenizer.json's post-processor, seen at work on one text.

  Beside it, transformers 5 takes no notice of add_bos_token and add_eos_token in the settings.
  """
  texts = (text.decode("utf-8", "ignore") for text in table)
  probe = next((text for text in texts if rust.encode(text, add_special_tokens=False).ids), "")
  plain = rust.encode(probe, add_special_tokens=False).ids
  whole = rust.encode(probe, add_special_tokens=True).ids
  start = next(i for i in range(len(whole) + 1) if whole[i : i + len(plain)] == plain)
  return tuple(whole[:start]), tuple(whole[start + len(plain) :])


def _bytes(piece: str, alphabet: dict[str, int]) -> bytes:
  """A piece is spelled in the alphabet; an added token that is not, is its own text."""
  try:
    return bytes([alphabet[character] for character in piece])
  except KeyError:
    return piece.encode()


# tokenizer.model -------------------------------------------------------------------------------


def _sentencepiece(path: pathlib.Path, settings: dict) -> _Backend:
  """The model's own control ids, unless the settings name others; begin of text goes in front."""
  base = tokenizer_lib.load(path)
  own = {"bos_token": base.bos, "eos_token": base.eos[0], "pad_token": base.pad}
  named = {name: i for name, i in own.items() if i is not None and name not in settings}
  beyond = [i for i in settings.get("added_tokens_decoder") or {} if int(i) >= base.size]
  texts = _names(settings)
  lacking = [text for text in texts.values() if text not in base.pieces]
  if beyond or lacking:
    raise ValueError(
      f"{path} lacks {lacking or f'ids {beyond}'} of {SETTINGS}, and tokens cannot be added to a"
      f" SentencePiece model: put the checkpoint's {VOCABULARY} beside it"
    )
  named |= {name: base.pieces.index(text) for name, text in texts.items()}
  return _Backend(
    encoder=base.encoder,
    pieces=base.pieces,
    table=base.table,
    symbols=base.symbols,
    named=named,
    before=tuple(_some(named, "bos_token")) if settings.get("add_bos_token", True) else (),
    after=tuple(_some(named, "eos_token")) if settings.get("add_eos_token", False) else (),
  )
