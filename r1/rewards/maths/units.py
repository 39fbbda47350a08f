"""Units behind a number: split off, so that 5, 5 cm and 5 m can be told apart."""

import re

TEXT = r"\\(?:text|mbox|mathrm|textbf|textit)"
POWER = r"(?:\^?\{?[23]\}?|[²³])?"
DEGREES = re.compile(r"(?:\^\{?\s*\\circ\s*\}?|°|\\degree|\\deg)$")
MARKED = re.compile(rf"{TEXT}\{{([A-Za-z .°/-]{{1,40}})\}}{POWER}$")
WORDS = re.compile(rf"(?<=[0-9)}}% ])\\?([A-Za-z]{{1,15}}(?: [A-Za-z]{{1,15}}){{0,2}}){POWER}$")
PER_CENT = ("%", "percent", "percentage", "pct", "per cent")

KNOWN = """
mm cm dm m km in inch inche ft foot feet yd yard mi mile meter metre centimeter centimetre
millimeter millimetre kilometer kilometre mg g kg gram kilogram lb pound oz ounce ton tonne ml l
liter litre milliliter millilitre gallon quart pint cup s sec second min minute h hr hour day week
month year decade centurie century degree degrees radian rad dollar cent euro euros yen yuan rupee
rupees usd gbp square cubic unit point mph kmh people person student ways way time item newton
joule watt volt ampere ohm hertz hz pascal mole mol kelvin celsius fahrenheit ev kev mev nm pm
"""
# Words that change the number before them, or join it to another: never a unit.
NEVER = """
hundred thousand million billion trillion dozen score half halves third quarter quarters or and to
not pi tau base mod times plus minus over
"""
# Of those, the ones that a parser would drop with the rest of a \text{}.
SCALES = re.compile(r"(?<![A-Za-z])(?:hundred|thousand|million|billion|trillion|dozen)(?![A-Za-z])")
KNOWN_WORDS, NEVER_WORDS = frozenset(KNOWN.split()), frozenset(NEVER.split())


def split(text: str) -> tuple[str, str]:
  """(value, unit) of an answer in canonical spelling; "" where there is no unit, "%" for per cent.

  In \\text{} any words are a unit; bare ones must be known, since they could be anything.
  """
  if text.endswith("%"):
    return text[:-1].rstrip(), "%"
  if degrees := DEGREES.search(text):
    return text[: degrees.start()].rstrip(), "degree"
  for pattern in (MARKED, WORDS):
    if (found := pattern.search(text)) and (unit := _unit(found, pattern is MARKED)):
      value = text[: found.start()].rstrip()
      power = text[found.start() :].rpartition(found[1])[2].strip("}{^ ")
      if value:
        return value, unit if unit == "%" else unit + power
  return text, ""


def scales(text: str) -> list[str]:
  """Words that multiply the number before them: 8 million is not 8."""
  return SCALES.findall(text.casefold())


def _unit(found: re.Match, marked: bool) -> str:
  """The words as a unit in the singular, or "" where they are none."""
  words = found[1].strip(" .").casefold()
  if not words or NEVER_WORDS & set(words.split()):
    return ""
  if words in PER_CENT:
    return "%"
  singular = words.removesuffix("s") if len(words) > 2 else words
  known = {*words.split()} <= KNOWN_WORDS or {*singular.split()} <= KNOWN_WORDS
  return singular if marked or known else ""
