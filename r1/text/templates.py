"""How a question becomes the text that a model continues."""

from r1.text import tokenizer as tokenizers

BOS_TEXT = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"

# arXiv 2501.12948v1, table 1, word for word; the model itself has to open <think>.
R1_ZERO = (
  "A conversation between User and Assistant. The user asks a question, and the Assistant solves"
  " it. The assistant first thinks about the reasoning process in the mind and then provides the"
  " user with the answer. The reasoning process and answer are enclosed within <think> </think> and"
  " <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think>"
  " <answer> answer here </answer>. User: {prompt}. Assistant:"
)
SHORT = "User: {prompt} Assistant:"
# The form of the released R1 and of its distilled students: the prompt opens the thought.
CHAT = BOS_TEXT + "<\uff5cUser\uff5c>{prompt}<\uff5cAssistant\uff5c><think>\n"

TEMPLATES = {"r1_zero": R1_ZERO, "short": SHORT, "chat": CHAT}
NAMES = tuple(TEMPLATES)
OPENED = {"r1_zero": "", "short": "", "chat": "<think>\n"}


def render(name: str, prompt: str) -> str:
  """The whole prompt as text; braces in `prompt` stay as they are."""
  head, tail = _template(name).split("{prompt}")
  return head + prompt + tail


def opened(name: str) -> str:
  """What of the answer the template has written already: graders see it before the response."""
  _template(name)
  return OPENED[name]


def encode(tokenizer: tokenizers.Tokenizer, name: str, prompt: str) -> list[int]:
  """The prompt as ids, with begin of text exactly once where the tokenizer has one.

  The chat text names it too, and encoding that text on top adds it twice
  (open-r1 #462, vLLM #27486).
  """
  text = render(name, prompt).removeprefix(BOS_TEXT)
  bos = [] if tokenizer.bos is None else [tokenizer.bos]
  return bos + tokenizer.encode(text)


def _template(name: str) -> str:
  if name not in TEMPLATES:
    raise ValueError(f"unknown template {name!r}; there are {', '.join(NAMES)}")
  return TEMPLATES[name]
