"""Messages for the tests of chat templates, and tokenizers to write them with."""

import pytest

from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from tests.text import checkpoints

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "It is 4."}
MORE = {"role": "user", "content": "再加一呢？\n"}
LAST = {"role": "assistant", "content": "<think>\n4 + 1 = 5\n</think>\n\n五 🙂 <b>5</b>"}
SYSTEM = {"role": "system", "content": " Be brief. "}
CALL = {
  "role": "assistant",
  "content": None,
  "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"é": "<2>"}}}],
}
RESULT = {"role": "tool", "content": "4 & done", "name": "add"}
TOOLS = [
  {
    "type": "function",
    "function": {"name": "add", "description": "Adds 'a' & <b>, 加", "parameters": {"a": [1, 2.5]}},
  }
]
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
ROLES = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}assistant:{% endif %}"


@pytest.fixture(scope="module")
def families(tmp_path_factory):
  root = tmp_path_factory.mktemp("checkpoints")
  return {f: hf_tokenizer.load(checkpoints.folder(root, f)) for f in checkpoints.FAMILIES}


@pytest.fixture(scope="module")
def pieces():
  """SentencePiece, whose control ids no text can reach."""
  lines = ["User: what is 12 + 7 ? Assistant: so 19 </s>"] * 10
  return tokenizers.load(tokenizers.train(lines, vocab_size=330, symbols=checkpoints.THINK))


def spelled(tokenizer, ids):
  """The text of ids with control ids written out."""
  return "".join(tokenizer.decode([i]) if tokenizer.table[i] else tokenizer.piece(i) for i in ids)


def runs(tokenizer, tokens, scored):
  """The stretches of text that are scored."""
  assert len(tokens) == len(scored)
  found, run = [], []
  for token, counts in zip([*tokens, 0], [*scored, False]):
    if counts:
      run.append(token)
    elif run:
      found.append(
        b"".join(tokenizer.table[i] or tokenizer.piece(i).encode() for i in run).decode()
      )
      run = []
  return found
