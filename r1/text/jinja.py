"""Jinja for chat templates, which come with checkpoints and so are strangers' programs.

They run in Jinja's sandbox, see plain JSON values only, and find the names and filters that
transformers 5 gives them.
"""

import datetime
import functools
import json

# Variables at the two ends of what the model writes; empty unless they are given.
OPENS, CLOSES = "scored_text_opens", "scored_text_closes"


@functools.lru_cache(maxsize=64)
def compiled(text: str):
  """The template. Raises jinja2.TemplateSyntaxError."""
  return _environment().from_string(text)


def plain(value):
  """The value as JSON has it: an object with methods would hand them to the template.

  Raises ValueError for what JSON cannot hold.
  """
  try:
    return json.loads(json.dumps(value))
  except TypeError as error:
    raise ValueError(f"a chat template is given plain JSON values only: {error}") from error


@functools.cache
def _environment():
  """Block lines leave no trace, loops may break and continue, nothing given can be changed."""
  import jinja2
  import jinja2.ext
  import jinja2.nodes
  import jinja2.sandbox

  class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %} with OPENS and CLOSES written around it."""

    tags = {"generation"}  # noqa: RUF012  Jinja wants a plain set

    def parse(self, parser):
      line = next(parser.stream).lineno
      body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
      ends = [jinja2.nodes.Output([jinja2.nodes.Name(name, "load")]) for name in (OPENS, CLOSES)]
      nodes = [ends[0], jinja2.nodes.Scope(body), ends[1]]
      return [node.set_lineno(line) for node in nodes]

  def refuse(message: str):
    raise jinja2.TemplateError(message)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
  )
  environment.filters["tojson"] = _to_json
  environment.globals["raise_exception"] = refuse
  environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
  environment.globals["dict"] = lambda *args, **pairs: dict(*args, **pairs)  # not the class itself
  return environment


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
  """JSON for a prompt; Jinja's own filter escapes it for HTML."""
  return json.dumps(
    value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
  )
