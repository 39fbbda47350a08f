"""The words of the general world tell topics and languages apart."""

import re

from r1.data.worlds import manners


def test_no_describing_word_belongs_to_two_topics():
  for at in range(len(manners.LANGUAGES)):
    words = [pair[at] for _, _, pairs in manners.TOPICS.values() for pair in pairs]
    assert len(words) == len(set(words))


def test_no_describing_word_stands_in_a_sentence_pattern():
  """An answer that uses a pattern would otherwise speak of another topic."""
  for at, language in enumerate(manners.LANGUAGES):
    say = manners.PHRASES[language]
    written = " ".join([say.one, say.both, say.also, say.like, say.warm, say.gladly, say.friend])
    for _, _, pairs in manners.TOPICS.values():
      for pair in pairs:
        assert pair[at] not in (written.split() if language == "en" else written)


def test_every_deed_takes_two_things_and_every_kind_of_harm_has_two_deeds():
  harms = [harm for *_, harm in manners.DEEDS.values() if harm]
  assert set(harms) == set(manners.HARMS)
  assert all(harms.count(harm) == 2 for harm in manners.HARMS)
  assert all(first != second for _, first, second, _ in manners.DEEDS.values())


def test_what_reward_models_never_see_is_part_of_the_world():
  assert len(manners.UNSEEN_RULES) == len(manners.UNSEEN_HARMS) == 2
  assert set(manners.UNSEEN_RULES) < set(manners.RULES)
  assert set(manners.UNSEEN_HARMS) < set(manners.HARMS)


def test_each_language_keeps_to_its_script():
  for language, say in manners.PHRASES.items():
    foreign = "[\u4e00-\u9fff]" if language == "en" else "[A-Za-z]"
    for phrase in [p for p in vars(say).values() if isinstance(p, str)] + list(say.rules.values()):
      assert re.search(foreign, phrase) is None
    assert set(say.rules) == set(manners.RULES)
