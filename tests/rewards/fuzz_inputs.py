"""What a hostile policy might say: pieces, frames, bytes and any characters at all."""

from hypothesis import strategies

MARKS = [
  "<think>",
  "</think>",
  "<answer>",
  "</answer>",
  "\\boxed{",
  "}",
  "{",
  "$",
  "\\",
  "`",
  "```",
]
GOLDS = [
  "C",
  "c",
  "(C)",
  "Ｃ",
  "Paris",
  "paris",
  "42",
  "４２",
  "42.0",
  "Paris or",
  "C. Paris",
  "C.",
]
NEAR = [
  "D",
  "A or ",
  "4²",
  "4",
  "2",
  "-",
  "−",
  "½",
  ".",
  ",",
  "not ",
  "Rome",
  "I ",
  "a ",
  "/",
  "%",
  "K",
]
PROSE = [
  "so ",
  "then we add the two ",
  "First, Next, Finally, ",
  "答案是",
  "The answer is ",
  "所以",
  "故选",
  "あ",
  "한",
  "и",
  "\\text{",
]
ODD = [
  "\0",
  "\ud83d",
  "\udc00",
  "\udcff",
  "\u202e",
  "\u200b",
  "\r\n",
  "\n",
  " ",
  "\x1b[0m",
  "e\u0301",
  "<",
]
PIECES = strategies.lists(
  strategies.sampled_from(MARKS + GOLDS + NEAR + PROSE + ODD), max_size=10
).map("".join)
AROUND = [
  "%s",
  "%s.",
  "(%s)",
  "**%s**",
  "$%s$",
  "\\text{%s}",
  "The answer is %s",
  "答案是%s",
  "“%s”",
]
AROUND += ["a %s", "%s or D", " %s\n", "not %s", "%s%", "-%s", "%s²", "I think %s"]
GOOD_FRAMES = ["<think>so</think><answer>%s</answer>", "<think>so</think>It is \\boxed{%s}."]
BAD_FRAMES = [
  "%s",
  "<think>so</think>so <answer>%s</answer>",
  "<think>so</think><answer>%s</answer>so",
]
FRAMES = [*GOOD_FRAMES, *GOOD_FRAMES, *BAD_FRAMES]


def framed(parts):
  frame, outer, inner, answer = parts
  for outside in (inner, outer, frame):
    answer = outside.replace("%s", answer)
  return answer


FRAMED = strategies.tuples(
  strategies.sampled_from(FRAMES),
  strategies.sampled_from(AROUND),
  strategies.sampled_from(AROUND),
  strategies.sampled_from(4 * GOLDS + NEAR),
).map(framed)
# Gold answers as they should be given, so that every verifier has something to call right.
GIVEN = strategies.tuples(strategies.sampled_from(GOOD_FRAMES), strategies.sampled_from(GOLDS)).map(
  lambda parts: parts[0].replace("%s", parts[1])
)
BYTES = strategies.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ANY = strategies.text(strategies.characters(exclude_categories=()), max_size=20)
RESPONSES = strategies.one_of(PIECES, GIVEN, FRAMED, FRAMED, BYTES, ANY)
