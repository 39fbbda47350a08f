"""Jinja for templates: the sandbox, the filters, and what marks the model's words."""

import re

import jinja2
import pytest

from r1.text import jinja


def write(text, **given):
  return jinja.compiled(text).render(**given)


def test_block_lines_leave_no_trace():
  assert write("a\n  {% if true %}\n  b\n  {% endif %}\nc\n") == "a\n  b\nc"


def test_loops_break_and_continue():
  text = "{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% endif %}"
  text += "{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
  assert write(text) == "13"


def test_json_is_written_for_a_prompt_and_not_for_a_page():
  value = {"b": "<a> & 'é'", "a": [1, None]}
  assert write("{{ v | tojson }}", v=value) == '{"b": "<a> & \'é\'", "a": [1, null]}'
  assert write("{{ v | tojson(indent=1, sort_keys=true) }}", v={"b": 1, "a": 2}) == (
    '{\n "a": 2,\n "b": 1\n}'
  )
  assert write("{{ v | tojson(ensure_ascii=true) }}", v="é") == '"\\u00e9"'


def test_the_date_is_todays_unless_another_is_given():
  assert re.fullmatch(r"20\d\d", write("{{ strftime_now('%Y') }}"))
  assert write("{{ strftime_now('%Y') }}", strftime_now=lambda form: "1911") == "1911"


def test_a_template_may_refuse():
  with pytest.raises(jinja2.TemplateError, match="roles must alternate"):
    write("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
  "text",
  [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ dict.mro() }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ strftime_now.__globals__['datetime'] }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ messages.__class__() }}",
    "{{ dict.update(messages[0], role='system') }}",
  ],
)
def test_a_template_reaches_nothing_outside(text):
  with pytest.raises(jinja2.TemplateError):
    write(text, messages=[{"role": "user"}])


def test_a_template_cannot_count_for_ever():
  with pytest.raises(OverflowError, match="Range too big"):
    write("{% for i in range(1000000) %}{% endfor %}")


def test_a_template_sees_plain_values_only():
  assert jinja.plain([{"a": (1, 2.5, None, "é")}]) == [{"a": [1, 2.5, None, "é"]}]
  with pytest.raises(ValueError, match="plain JSON values only"):
    jinja.plain([{"content": object()}])


GENERATION = "a{% generation %}{% set x = 1 %}b{{ y }}{% endgeneration %}c{{ x }}"


def test_a_generation_block_shows_its_ends_only_where_asked():
  assert write(GENERATION, y="!") == "ab!c"
  ends = {jinja.OPENS: "<", jinja.CLOSES: ">"}
  assert write(GENERATION, y="!", **ends) == "a<b!>c"


def test_generation_blocks_stand_in_loops_and_see_their_variables():
  text = (
    "{% for m in v %}{%- generation -%} {{ loop.index }}{{ m }} {%- endgeneration %};{% endfor %}"
  )
  ends = {jinja.OPENS: "<", jinja.CLOSES: ">"}
  assert write(text, v="xy", **ends) == "<1x>;<2y>;"


def test_a_generation_block_without_an_end_is_a_fault_of_syntax():
  with pytest.raises(jinja2.TemplateSyntaxError, match="endgeneration"):
    write("{% generation %}a")
