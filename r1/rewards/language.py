"""Language consistency: the share of a thought's words that are in the target language.

Words are told apart by Unicode script, so English and Chinese are exact. Two languages of one
script (English, French) are told apart only where the caller names the candidates. The unit,
which the paper leaves open: one word of an alphabet = 1; one Han character, kana or letter of
Thai, Lao, Khmer or Burmese = 1, since these are written unspaced; one syllable of Tibetan = 1.
Single Latin or Greek letters are names of variables, not words.
"""

import re
from collections.abc import Sequence

from r1.data import responses
from r1.rewards import form, identify, verdict

# A text is mixed if its second script has at least this share of the words: one word in twenty,
# so that a short thought with one foreign word is mixed and a long one quoting a name is not.
MIXED_SHARE = 0.05

# Writing systems and the languages (ISO 639) usually written in each; the list is that of
# py3langid. Han is Japanese in a sentence with kana, and Korean in one with hangul.
SCRIPTS = {
  script: tuple(names.split())
  for script, names in {
    "latin": "ace af an az bcl br bs ca crh cs cy da de en eo es et eu ext fi fo fr fuv fy ga gcf"
    " gcr gd gl gug guw ha hr ht hu id ig is it jv kab kik ku la lb lg lij ln lt ltg lv mg ms mt"
    " nl nn no nso oc om pcm pl pt qu ro rw se sk sl sn so sq st sv sw tk tl tr uz vec vi vo wa xh"
    " yo zu",
    "han": "zh wuu yue",
    "kana": "ja",
    "hangul": "ko",
    "cyrillic": "ba be bg kk ky mk mn ru sr tg tt uk",
    "greek": "el grc",
    "arabic": "ar ary arz fa ps sdh ug ur uzs",
    "hebrew": "hbo he",
    "devanagari": "gom hi mr ne sa",
    "bengali": "as bn",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "odia": "or",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "burmese": "my",
    "tibetan": "dz",
    "georgian": "ka",
    "armenian": "hy",
    "ethiopic": "am",
  }.items()
}
SCRIPT_OF = {name: script for script, names in SCRIPTS.items() for name in names}

LATIN = "A-Za-zªº\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
MARK = "\u0300-\u036f"
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
SPACED = {  # scripts whose words stand between spaces
  "hangul": HANGUL,
  "cyrillic": "\u0400-\u052f\u1c80-\u1c8f",
  "arabic": "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06fa-\u06ff\u0750-\u077f",
  "hebrew": "\u0591-\u05c7\u05d0-\u05f4",
  "devanagari": "\u0900-\u0963\u0970-\u097f",
  "bengali": "\u0980-\u09e5\u09f0-\u09ff",
  "tamil": "\u0b80-\u0be5\u0bf0-\u0bff",
  "telugu": "\u0c00-\u0c65\u0c70-\u0c7f",
  "gurmukhi": "\u0a01-\u0a65\u0a70-\u0a76",
  "gujarati": "\u0a81-\u0ae5\u0af9-\u0aff",
  "odia": "\u0b01-\u0b65\u0b70\u0b71",
  "kannada": "\u0c80-\u0ce5\u0cf1-\u0cf3",
  "malayalam": "\u0d00-\u0d65\u0d7a-\u0d7f",
  "sinhala": "\u0d81-\u0de5\u0df2\u0df3",
  "tibetan": "\u0f00\u0f40-\u0fbc",  # runs end at the mark between syllables
  "georgian": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2d",
  "armenian": "\u0531-\u0588",
  "ethiopic": "\u1200-\u135f\u1380-\u138f\u2d80-\u2dde",
}
GREEK = "\u0370-\u03ff\u1f00-\u1fff"
UNSPACED = {  # letters that are counted one by one; their marks above and below are not
  "han": HAN,
  "kana": KANA,
  "thai": "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46",
  "lao": "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf",
  "khmer": "\u1780-\u17b3",
  "burmese": "\u1000-\u102a\u103f\u1050-\u1055",
}
MARKS_OF_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
SYMBOL = "²³¹¼-¾\u2070-\u218f\u2460-\u24ff\u3192-\u319f\u3220-\u33ff\U0001d400-\U0001d7ff"
UNITS = {script: re.compile(f"[{letters}]") for script, letters in UNSPACED.items()} | {
  script: re.compile(f"[{letters}]+") for script, letters in SPACED.items()
}
LATIN_WORD = re.compile(f"[{LATIN}](?:['’]?[{LATIN}{MARK}])+")
GREEK_WORD = re.compile(f"[{GREEK}]{{2,}}")
KNOWN = "".join((LATIN, MARK, HAN, KANA, GREEK, MARKS_OF_UNSPACED, SYMBOL, *SPACED.values()))
OTHER_WORD = re.compile(rf"[^\W\d_{KNOWN}]+")
SENTENCE_END = re.compile(r"[。！？!?\n]")

# Skipped: escapes. Opened: code, formulas, environments; each ends at the text on the right.
OPENING = re.compile(r"\\\\|\\\$|```|`|\$\$|\$|\\\[|\\\(|\\begin\{")
CLOSING = {"```": "```", "`": "`", "$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
CLOSING["\\begin{"] = "\\end{"
NOT_PROSE = re.compile(
  r"https?://\S+|\\(?:begin|end)\{[^{}\s]{0,40}\}|\\[A-Za-z]+|</?[A-Za-z][\w-]*\s*/?>"
)


def prose(text: str) -> str:
  """The text without code, formulas, URLs, LaTeX commands and tags; linear in the text.

  A lone $ is money: as in Pandoc, one that opens a formula has no space after it, and one that
  closes it has no space before and no digit after it.
  """
  kept, at, absent = [], 0, set()
  while opening := OPENING.search(text, at):
    kept.append(text[at : opening.start()])
    at = opening.end()
    closing = CLOSING.get(opening[0])
    if closing is None or closing in absent:
      continue
    end = text.find(closing, at)
    if end < 0:
      absent.add(closing)
    elif closing != "$" or _is_formula(text, at, end):
      at = end if closing == "\\end{" else end + len(closing)
    kept.append(" ")
  return NOT_PROSE.sub(" ", "".join((*kept, text[at:])))


def _is_formula(text: str, start: int, end: int) -> bool:
  after = text[end + 1 : end + 2]
  return end > start and not (text[start].isspace() or text[end - 1].isspace() or after.isdigit())


def words(text: str) -> dict[str, int]:
  """Words by script, zeros left out.

  Latin and Greek are counted in the prose only. Other scripts are counted everywhere: their
  characters are never notation, and hiding them in $...$ or in code must not pay.
  """
  plain = prose(text)
  counts = {"latin": len(LATIN_WORD.findall(plain))}
  if not text.isascii():
    counts["greek"] = len(GREEK_WORD.findall(plain))
    counts["other"] = len(OTHER_WORD.findall(text))
    counts |= {script: len(unit.findall(text)) for script, unit in UNITS.items()}
    for script in ("kana", "hangul"):
      if counts[script] and counts["han"]:
        moved = _han_beside(text, UNITS[script])
        counts["han"], counts[script] = counts["han"] - moved, counts[script] + moved
  return {script: count for script, count in counts.items() if count}


def _han_beside(text: str, unit: re.Pattern) -> int:
  """Han characters in the sentences that also hold the given script."""
  sentences = (s for s in SENTENCE_END.split(text) if unit.search(s))
  return sum(len(UNITS["han"].findall(sentence)) for sentence in sentences)


def shares(text: str) -> dict[str, float]:
  """Share of the words by script, summing to 1; empty if the text has no words."""
  counts = words(text)
  total = sum(counts.values())
  return {script: count / total for script, count in counts.items()}


def consistency(
  question, response: responses.Response, candidates: Sequence[str] = ()
) -> verdict.Score:
  """Num(words in the question's language) / Num(words) over the thought (arXiv 2501.12948v2 eq. 7).

  A share in [0, 1], whatever the format. No thought scores 0, unparsed; a thought without words
  (formulas only) scores 1. A language whose script is not in SCRIPTS gives no_verdict.

  candidates: languages that the model may fall into. Those of the target's own script are told
  from it passage by passage (r1/rewards/identify.py); without them the script alone decides.
  """
  script = SCRIPT_OF.get(question.language)
  if script is None:
    return verdict.Score(0.0, "no_verdict")
  thought = form.thought(response.text)
  if thought is None:
    return verdict.Score(0.0, "unparsed")
  rivals = [c for c in candidates if c != question.language and SCRIPT_OF.get(c, script) == script]
  value = _share_among(thought, question.language, rivals) if rivals else share_of(thought, script)
  return verdict.Score(value, "right" if value == 1 else "wrong")


def _share_among(text: str, target: str, rivals: Sequence[str]) -> float:
  """share_of() less the passages that are in a rival language of the same script."""
  script, counts = SCRIPT_OF[target], words(text)
  total = sum(counts.values())
  if not counts.get(script):
    return share_of(text, script)
  alphabet = {"latin": LATIN_WORD, "greek": GREEK_WORD}.get(script)
  counted = prose(text) if alphabet else text  # as in words()
  space = "" if script in UNSPACED else " "
  off = identify.foreign(counted, alphabet or UNITS[script], space, target, rivals)
  return max(0, counts[script] - off) / total


def share_of(text: str, script: str) -> float:
  """The share of one script in a text; 1 for a text without words."""
  counts = words(text)
  total = sum(counts.values())
  return counts.get(script, 0) / total if total else 1.0


def mixed(text: str) -> bool:
  """True if two scripts each have at least MIXED_SHARE of the words."""
  ranked = sorted(shares(text).values(), reverse=True)
  return len(ranked) > 1 and ranked[1] >= MIXED_SHARE
