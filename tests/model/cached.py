"""Decoding with a cache, step by step, to compare with the forward without one."""

import numpy as np

from r1.model import cache as cache_lib
from r1.model import heads
from tests.model import tiny

SLOTS = 18  # room for the padding of the last chunk


def chunk(sequences, start, width):
  """(token_BL, position_BL, segment_BL): tokens start .. start + width of each row, padded."""
  shape = len(sequences), width
  token_BL, segment_BL = np.full(shape, 9, np.int32), np.zeros(shape, np.int32)
  for b, tokens in enumerate(sequences):
    new = tokens[start[b] : start[b] + width]
    token_BL[b, : len(new)], segment_BL[b, : len(new)] = new, 1
  position_BL = np.asarray(start, np.int32)[:, None] + np.arange(width, dtype=np.int32)
  return token_BL, position_BL, segment_BL


def decode(params, sequences, prompts, cfg, widths):
  """hidden_LD of each row by a prefill of `prompts` tokens, then chunks of these widths."""
  held, pieces = cache_lib.empty(cfg, len(sequences), SLOTS), [[] for _ in sequences]
  prefill = [tokens[:n] for tokens, n in zip(sequences, prompts, strict=True)]
  for i, width in enumerate((max(prompts), *widths)):
    rows = sequences if i else prefill
    held = extend(params, rows, held, width, pieces, cfg)
  assert held.length_B.tolist() == [len(tokens) for tokens in sequences]
  return [np.concatenate(piece) for piece in pieces]


def extend(params, rows, held, width, pieces, cfg):
  """The cache with the next `width` tokens of each row; their hidden states go to `pieces`."""
  batch = chunk(rows, np.asarray(held.length_B), width)
  out = tiny.forward(params, *batch, cfg, held)
  for b, real in enumerate(batch[2].sum(axis=1)):
    pieces[b].append(np.asarray(out.hidden_BLD[b, :real]))
  return out.cache


def best(params, hidden_LD, cfg):
  """The most likely next token of each."""
  return np.argmax(hidden_LD @ np.asarray(heads.matrix(params, cfg))[:, : cfg.ids], axis=-1)


def greedy(params, prompts, cfg, piece=4, count=6):
  """(sequences, hidden_LD of each): `count` tokens behind each prompt, prefilled by `piece`."""
  rows, pieces = [list(p) for p in prompts], [[] for _ in prompts]
  held = cache_lib.empty(cfg, len(rows), SLOTS)
  for _ in range(0, max(map(len, rows)), piece):
    held = extend(params, rows, held, piece, pieces, cfg)
  for _ in range(count):
    for row, made in zip(rows, pieces):
      row.append(int(best(params, np.concatenate(made)[-1:], cfg)[0]))
    held = extend(params, rows, held, 1, pieces, cfg)
  return rows, [np.concatenate(made) for made in pieces]


def check(cfg, params=None):
  """Cached decoding gives the full forward's hidden states, to 2e-5 of their norm, and tokens."""
  params = tiny.params(cfg) if params is None else params
  prompts = tiny.documents([7, 2, 8], cfg)
  rows, found = greedy(params, prompts, cfg)
  batch = chunk(rows, [0] * len(rows), tiny.ROW)
  full_BLD = np.asarray(tiny.forward(params, *batch, cfg).hidden_BLD)
  for prompt, row, hidden_LD, full_LD in zip(prompts, rows, found, full_BLD, strict=True):
    want_LD = full_LD[: len(row)]
    error_L = np.linalg.norm(hidden_LD - want_LD, axis=-1) / np.linalg.norm(want_LD, axis=-1)
    assert error_L.max() <= 2e-5, error_L
    start = len(prompt)
    assert row[start:] == best(params, want_LD[start - 1 : -1], cfg).tolist()
  assert len({token for row in rows for token in row}) > 5  # the model does not repeat one token
