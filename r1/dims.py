"""The alphabet of dimension letters: a name's upper-case suffix is its shape.

The same letters size the config, declare the parameters, write the einsums and pick the mesh
axes. `1` is a broadcast axis. No letter has two sizes.
"""

import jax
import numpy as np

Array = np.ndarray | jax.Array  # filled on the host, read on a device
LETTERS = {
  "A": "query latent rank (MLA)",
  "B": "rows of a batch",
  "C": "key/value latent rank (MLA)",
  "D": "model width",
  "E": "experts",
  "F": "hidden width of the dense MLP",
  "G": "answers per question (the group)",
  "H": "query heads",
  "J": "LoRA rank",
  "K": "head size (MLA: of the part without rotation)",
  "L": "query positions of a row",
  "M": "key positions of a row",
  "N": "key/value heads",
  "O": "model width, as the output of a square matrix",
  "P": "rotary width (MLA)",
  "Q": "questions (B = Q * G)",
  "R": "queries per key/value head",
  "S": "chosen experts",
  "T": "tokens, B and L flattened",
  "U": "micro-batches of an optimiser step",
  "V": "vocabulary",
  "W": "value-head size",
  "X": "hidden width of an expert",
  "Y": "hidden width of the shared experts, all together",
  "Z": "layers of a stack",
}


def suffix(name: str) -> str:
  """The letters after the last underscore, or "" where the name declares no shape."""
  tail = name.rpartition("_")[2]
  return tail if tail and all(c in LETTERS or c == "1" for c in tail) else ""


def check(**arrays) -> dict[str, int]:
  """Checks every array against the letters of its name, and the letters against each other.

  Runs at trace time and costs nothing afterwards. Returns letter -> size.
  Raises ValueError naming the array, its shape and the letter that disagrees.
  """
  sizes: dict[str, int] = {}
  for name, array in arrays.items():
    letters = suffix(name)
    if len(letters) != array.ndim:
      raise ValueError(f"{name} has shape {array.shape}: its name promises {len(letters)} axes")
    for letter, size in zip(letters, array.shape):
      if sizes.setdefault(letter, 1 if letter == "1" else size) != size:
        raise ValueError(
          f"{name} has shape {array.shape}: {letter} is {size} here and {sizes[letter]} elsewhere"
        )
  return sizes
