"""Passages are cut so that neither tiny nor endless sentences hide a language."""

import concurrent.futures
import re
import subprocess
import sys

import pytest

from r1.rewards import identify

WORD = re.compile("[a-zé]+")
FRENCH = "alors on additionne les deux nombres et on trouve huit. " * 3
ENGLISH = "then we add the two numbers and we get eight of them. " * 3


def lengths(text):
  return [len(run) for run in identify.passages(text, WORD)]


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("", []),
    ("so it is", [3]),
    ("a b c d e. f g h i j k.", [5, 6]),
    ("so. it is. then five. a b c d e. f g", [5, 7]),  # 1 + 2 + 2 words, and 5 + 2
    ("a b c. d e f", [6]),
    ("x " * 70, [30, 30, 10]),
    ("x " * 62, [30, 32]),
    ("3.5 a b c d e", [5]),  # a decimal point ends no sentence
  ],
)
def test_runs_hold_five_to_thirty_words(text, wanted):
  assert lengths(text) == wanted


def test_words_of_the_rival_are_counted():
  both = ENGLISH + FRENCH
  assert identify.foreign(both, WORD, " ", "en", ("fr",)) == len(WORD.findall(FRENCH))
  assert identify.foreign(both, WORD, " ", "fr", ("en",)) == len(WORD.findall(ENGLISH))
  assert identify.foreign("oui mon ami", WORD, " ", "en", ("fr",)) == 0


def test_an_unknown_candidate_is_named():
  with pytest.raises(ValueError, match=r"\['tlh'\] given; py3langid knows"):
    identify.foreign(ENGLISH, WORD, " ", "en", ("tlh",))


def test_threads_agree_with_each_other():
  texts = [ENGLISH + FRENCH, FRENCH, ENGLISH] * 20
  wanted = [identify.foreign(text, WORD, " ", "en", ("fr", "de")) for text in texts]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    count = lambda text: identify.foreign(text, WORD, " ", "en", ("fr", "de"))
    assert list(pool.map(count, texts)) == wanted


def test_the_model_is_imported_only_where_it_is_asked():
  code = "import sys; from r1.rewards import language; assert 'py3langid' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
