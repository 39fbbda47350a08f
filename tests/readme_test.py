"""The README promises commands; the files they name exist and .ci/run runs the same line."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
  line
  for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
  for line in block.splitlines()
]


def test_ci_runs_the_second_command_of_the_readme():
  ci = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
  assert COMMANDS[1].endswith("-m pytest -n 2")
  assert COMMANDS[1] == ci[-1]


@pytest.mark.parametrize(
  "text", ["README.md", "CONTRIBUTING.md", "docs/design.md", "docs/performance.md"]
)
def test_the_files_named_in_the_documents_exist(text):
  """Modules after -m, config files, and relative links."""
  content = (ROOT / text).read_text(encoding="utf-8")
  modules = re.findall(r"-m ((?:experiments|r1)(?:\.\w+)+)", content)
  paths = [f"{name.replace('.', '/')}.py" for name in modules]
  paths += re.findall(r"--config=([\w/]+\.py)", content)
  links = re.findall(r"\]\((?!https?:|#)([^)#]+)", content)
  base = (ROOT / text).parent
  missing = [p for p in paths if not (ROOT / p).exists()]
  missing += [link for link in links if not (base / link).exists()]
  assert missing == [], text
