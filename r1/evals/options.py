"""The option letter that free text settles on, for evaluations only.

A reward must not read this leniently: it finds a letter in prose that marks none.
"""

import re

from r1.rewards import choice, spelling

TAIL = 20_000  # characters; an answer stands at the end, and the cost of reading stays bounded
REACH = 40  # characters from "answer" to its letter: "The answer is for sure D"

ANSWER = "|".join(
  (
    r"(?:correct|right|best)\s+(?:option|choice|one)|\banswer|\bI\s+(?:choose|pick|select)\b",
    r"\\boxed|答案|正确选项|故选|应选|选(?![项择])|选择(?!题)|正解|答え|정답|답",
    r"réponse|respuesta|resposta|risposta|antwort|antwoord|jawaban|odpowied[zź]|svar|jibu",
    r"ответ|відповідь|απάντηση|cevap|yanıt|đáp án|الإجابة|الجواب|پاسخ|תשובה|उत्तर|উত্তর|คำตอบ",
    r"సమాధానం|జవాబు|பதில்|விடை",
  )
)
NOT = "|".join(
  (
    r"\bnot\b|n['’]t\b|\bcannot\b|\bnever\b|\bneither\b|\brather\s+than\b|\binstead\s+of\b",
    r"\brul(?:e|es|ed|ing)\s+out\b|\beliminat\w*|\bexclud\w*|不|非|排除|没有|\bpas\b|\bnon\b|\bno\b(?!\s+doubt)",
    r"\bnicht\b|\bkein\w*|\bniet\b|\binte\b|\bnie\b|\bkhông\b|\bbukan\b|\bsio\b|\bне\b|\bδεν\b|ليس|ไม่",
  )
)
DECLARED_AFTER = re.compile(
  r"[)\]}*$\"'.]*\s+is\s+(?:\w+\s+)?the\s+(?:(?:correct|right|best)\s+)?(?:answer|option|choice|one)\b"
)
# Languages whose verb ends the clause deny what stands before.
DENIED_AFTER = re.compile(r"[^.!?。A-Z\n]{0,12}?(?:नहीं|ではな|じゃな|아니|değil|নয়|కాదు|அல்ல)")
TURN = r"[.!?;](?=\s|$)|[।,]|\b(?:but|so|therefore|thus|hence)\b|而是|但|所以|因此|(\n\s*\n)"
LETTER = r"(?<![A-Za-z0-9\\])(?<![A-Za-z]['’])([A-J])(?![A-Za-z0-9]|['’][A-Za-z]|\.[A-Za-z])"
TOKEN = re.compile(
  rf"(?P<answer>{ANSWER})|(?P<no>{NOT})|(?P<turn>{TURN})|(?-i:(?P<letter>{LETTER}))",
  re.IGNORECASE,
)
# A and I before a small word are an article and a pronoun, unless something points at a letter.
WORD = {
  "A": re.compile(r"\s+(?!(?:and|or|is|was|because|since|as)\b)[a-z]"),
  "I": re.compile(r"\s+[a-z]"),
}
POINTED = re.compile(
  r"(?:\bis|\bbe|'s|\boption|\bchoice|\banswer|[:：({\[*\"是为选])\s*$", re.IGNORECASE
)
NEXT = r"[(\[{*$\"']*([A-J])(?![A-Za-z0-9])[)\]}*$\"']*"
HEDGE = re.compile(
  r"[)\]}*$\"'.]*\s*"
  rf"(?:,?\s*(?:\bor\b|\band\b|[/&、和或与及])\s*{NEXT}|,\s*{NEXT}(?=\s*(?:[,./]|\bor\b|\band\b|$)))"
)


def settled(text: str, count: int) -> str | None:
  """The last option that a text declares, of the first `count` letters; None if there is none.

  Only text after the last </think> counts. "Answer: C", "故选C" and the like declare; a letter
  that is denied ("not A") counts for nothing, and "A or B" is no answer. Without a declaration
  the text must mention one letter only. Capitals only: "a" is a word.
  """
  _, _, text = text.rpartition("</think>")
  if "<think>" in text:
    return None
  text = spelling.half_width(re.sub("([。！？；])", r"\1 ", text[-TAIL:]))
  declared, mentioned = _read(text, choice.LETTERS[:count])
  if declared:
    return declared[-1]
  return mentioned.pop() if len(mentioned) == 1 else None


def _read(text: str, known: str) -> tuple[list[str | None], set[str]]:
  """Declarations in order (None for a hedge), and the letters that are not denied."""
  declared: list[str | None] = []
  mentioned: set[str] = set()
  opened, denied, at = None, False, 0
  while token := TOKEN.search(text, at):
    at = token.end()
    if token["answer"]:
      opened, denied = at, False
    elif token["no"]:
      denied = True
    elif token["turn"]:
      opened, denied = (opened if token["turn"] == "," else None), False
    elif token["letter"] in known and not (denied or _is_word(text, token)):
      if DENIED_AFTER.match(text, at):
        continue
      named = token["letter"]
      mentioned.add(named)
      while hedge := HEDGE.match(text, at):
        named, at = None, hedge.end()
        mentioned.add(hedge[1] or hedge[2])
      if after := DECLARED_AFTER.match(text, at):
        declared.append(named)
        at = after.end()  # its "answer" opens nothing
      elif opened is not None and token.start() - opened <= REACH:
        declared.append(named)
      opened = None
  return declared, mentioned


def _is_word(text: str, token: re.Match) -> bool:
  word = WORD.get(token["letter"])
  if word is None or not word.match(text, token.end()):
    return False
  return not POINTED.search(text, max(0, token.start() - 12), token.start())
