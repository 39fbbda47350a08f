"""The rules of the house, read from the source: layers, names, sizes, configs, shapes."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from r1 import dims

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = (
  "dims",
  "schedule",
  "spec",
  "sharding",
  "text",
  "model",
  "data",
  "sampling",
  "rewards",
  "algorithms",
  "train",
  "evals",
  "report",
  "stages",
)
TREES = ("r1", "experiments", "configs")
FORBIDDEN_NAMES = {"utils.py", "util.py", "helpers.py", "misc.py"}
# Imported by neither stage nor library: they pull TensorFlow in, or belong to the parity tests.
FORBIDDEN_IMPORTS = ("tensorflow", "clu", "flax.linen", "flax.nnx", "torch", "transformers")
MAX_FILE, MAX_FUNCTION = 400, 60  # lines
# Settings, as opposed to records such as ParamSpec and Question, whose fields may be optional.
CONFIG_NAMES = re.compile(r"(Config|World)$")


def sources(*trees: str) -> list[str]:
  """Paths of the Python files below the given folders, relative to the root."""
  found = (path for tree in trees for path in sorted((ROOT / tree).rglob("*.py")))
  return [str(path.relative_to(ROOT)) for path in found]


# Scripts that run other programs in environments of their own, which setup.py does not install.
PEERS = sources("experiments/peers")
LIBRARY = sources("r1")
MODULES = [path for path in LIBRARY if not path.endswith("__init__.py")]


def parse(path: str) -> ast.Module:
  return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)


def imports(tree: ast.AST) -> list[str]:
  """Dotted names of everything imported; `from a import b` is a.b."""
  names: list[str] = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = "." * node.level + (node.module or "")
      names += [f"{base}.{alias.name}" for alias in node.names]
  return names


def layer(dotted: str) -> str:
  return dotted.split(".")[1]


# Imports ---------------------------------------------------------------------------------------


def upward(path: str, tree: ast.AST) -> list[str]:
  """Imports of a module of r1 that leave the order of LAYERS."""
  own = LAYERS.index(layer(path.removesuffix(".py").replace("/", ".")))
  names = [name for name in imports(tree) if name.split(".")[0] in (*TREES, "tests", "")]
  return [
    name
    for name in names
    if not name.startswith("r1.") or layer(name) not in LAYERS or LAYERS.index(layer(name)) > own
  ]


@pytest.mark.parametrize("path", MODULES)
def test_imports_point_down(path):
  assert upward(path, parse(path)) == [], f"{path} may import {LAYERS} up to its own layer only"


@pytest.mark.parametrize("path", [p for p in sources("experiments", "configs") if p not in PEERS])
def test_nothing_imports_experiments_or_configs(path):
  """Configs may share code among themselves; a stage reaches its neighbour through a workdir."""
  banned = {"experiments"} if path.startswith("configs/") else {"experiments", "configs"}
  reached = [name for name in imports(parse(path)) if name.split(".")[0] in banned]
  assert reached == [], f"{path} imports {reached}"


def imported_names(tree: ast.AST) -> list[str]:
  """Names taken out of a module of r1 where the module itself should be imported."""
  dotted = [name for name in imports(tree) if name.startswith("r1.")]
  return [
    name for name in dotted if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
  ]


@pytest.mark.parametrize("path", sources(*TREES))
def test_modules_are_imported_not_names(path):
  found = imported_names(parse(path))
  assert found == [], f"{path}: import the module, so that a call shows its origin: {found}"


@pytest.mark.parametrize("path", [p for p in sources(*TREES) if p not in PEERS])
def test_no_import_of_tensorflow_torch_or_modules(path):
  found = [
    n for n in imports(parse(path)) if any(f"{n}.".startswith(f"{b}.") for b in FORBIDDEN_IMPORTS)
  ]
  assert found == [], path


def test_every_import_is_a_declared_dependency():
  """A fresh environment holds what setup.py names, so an undeclared import fails there alone."""
  strings = {
    re.split(r"[\[<>=]", node.value)[0].lower().replace("_", "-")
    for node in ast.walk(parse("setup.py"))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
  }
  other_name = {"absl": "absl-py", "orbax": "orbax-checkpoint"}
  for path in (path for path in sources(*TREES) if path not in PEERS):
    for name in imports(parse(path)):
      top = name.split(".")[0]
      if top in (*TREES, "") or top in sys.stdlib_module_names:
        continue
      assert other_name.get(top, top.lower().replace("_", "-")) in strings, f"{path}: {top}"


def test_importing_the_library_touches_no_device():
  """With a platform that does not exist, the first touch of a device raises.

  The lazily imported ones are missing on some accelerator images and slow to load on all.
  """
  names = [path.removesuffix(".py").replace("/", ".") for path in MODULES]
  code = (
    f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    "late = {'tensorflow_datasets', 'ml_collections', 'grain', 'matplotlib', 'py3langid'}\n"
    "late &= set(sys.modules)\n"
    "assert not late, f'import inside the function that needs it: {late}'"
  )
  env = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
  )
  assert done.returncode == 0, done.stderr


# Files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES)
def test_every_module_has_its_test(path):
  wanted = pathlib.Path("tests", *pathlib.Path(path).parts[1:]).with_suffix("")
  wanted = wanted.with_name(f"{wanted.name}_test.py")
  assert (ROOT / wanted).exists(), f"{path} needs {wanted}"


def test_no_module_is_named_for_nothing():
  found = [path for path in sources(*TREES, "tests") if os.path.basename(path) in FORBIDDEN_NAMES]
  assert found == []


@pytest.mark.parametrize("path", [p for p in sources(*TREES) if p.endswith("__init__.py")])
def test_packages_hold_one_docstring_line_and_no_code(path):
  tree = parse(path)
  assert len(tree.body) == 1, path
  assert len((ast.get_docstring(tree) or "\n").splitlines()) == 1, path


@pytest.mark.parametrize("folder", sorted({os.path.dirname(path) for path in sources(*TREES)}))
def test_every_folder_of_modules_is_a_package(folder):
  assert (ROOT / folder / "__init__.py").exists(), f"setup.py would leave {folder} out"


def oversized(tree: ast.AST, limit: int) -> list[str]:
  functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
  return [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > limit]


@pytest.mark.parametrize("path", sources(*TREES, "tests"))
def test_files_and_functions_stay_small(path):
  lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
  assert lines <= MAX_FILE, f"{path} has {lines} lines"
  assert oversized(parse(path), MAX_FUNCTION) == [], path


# Shapes ----------------------------------------------------------------------------------------


def without_casts(node: ast.AST | None) -> ast.AST | None:
  while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
    if node.func.attr != "astype":
      break
    node = node.func.value
  return node


def array_name(node: ast.AST | None) -> str:
  """The name that declares the shape: x_BLD, p.x_BLD, p["q_DHK"], any of them cast; or ""."""
  match without_casts(node):
    case ast.Name(id=name) | ast.Attribute(attr=name):
      return name
    case ast.Subscript(slice=ast.Constant(value=str(name))):
      return name
  return ""


def is_einsum(node: ast.AST) -> bool:
  return isinstance(node, ast.Call) and ast.unparse(node.func) in ("jnp.einsum", "np.einsum")


def einsum_faults(tree: ast.AST) -> list[str]:
  """Einsum strings that disagree with the suffix of an operand or of their target."""
  faults = []
  targets = {
    id(without_casts(node.value)): node.targets[0]
    for node in ast.walk(tree)
    if isinstance(node, ast.Assign)
  }
  for call in filter(is_einsum, ast.walk(tree)):
    assert isinstance(call, ast.Call)
    match call.args[0]:
      case ast.Constant(value=str(equation)) if "->" in equation:
        left, right = equation.split("->")
      case _:
        faults.append(f"line {call.lineno}: the equation is no literal 'in->out'")
        continue
    pairs = [*zip(left.split(","), call.args[1:]), (right, targets.get(id(call)))]
    for letters, node in pairs:
      name = array_name(node)
      unknown = set(letters) - set(dims.LETTERS)
      if unknown or (dims.suffix(name) and dims.suffix(name) != letters):
        faults.append(f"line {call.lineno}: {letters!r} against {name or 'r1/dims.py'}")
  return faults


@pytest.mark.parametrize("path", LIBRARY)
def test_einsum_strings_agree_with_the_names(path):
  assert einsum_faults(parse(path)) == [], path


# Configs ---------------------------------------------------------------------------------------


def hidden_defaults(tree: ast.AST) -> list[str]:
  """`config.get(...)` and `getattr(config, name, default)`: defaults outside of configs/."""
  found = []
  for node in ast.walk(tree):
    match node:
      case ast.Call(func=ast.Attribute(attr="get", value=value)):
        source = ast.unparse(value)
      case ast.Call(func=ast.Name(id="getattr"), args=[value, _, _]):
        source = ast.unparse(value)
      case _:
        continue
    if re.match(r"(config|cfg|c)\b", source):
      found.append(f"line {node.lineno}: {ast.unparse(node)}")
  return found


@pytest.mark.parametrize("path", sources(*TREES))
def test_defaults_are_not_hidden_in_reads(path):
  assert hidden_defaults(parse(path)) == [], path


def dataclass_options(node: ast.ClassDef) -> dict[str, bool] | None:
  """Keyword options of @dataclass; None for a class that is no dataclass."""
  for decorator in node.decorator_list:
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    if ast.unparse(call) in ("dataclasses.dataclass", "dataclass"):
      keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
      return {str(k.arg): getattr(k.value, "value", False) for k in keywords}
  return None


def configs_of(tree: ast.AST) -> list[ast.ClassDef]:
  classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
  return [c for c in classes if dataclass_options(c) is not None and CONFIG_NAMES.search(c.name)]


def config_faults(tree: ast.AST) -> list[str]:
  """Configs that are not frozen and keyword-only, or that hold a default value."""
  faults = []
  for config in configs_of(tree):
    options = dataclass_options(config) or {}
    if not (options.get("frozen") and options.get("kw_only")):
      faults.append(f"{config.name} must be frozen and kw_only")
    fields = [field for field in config.body if isinstance(field, ast.AnnAssign) and field.value]
    faults += [f"{config.name}.{ast.unparse(field.target)} has a default" for field in fields]
  return faults


@pytest.mark.parametrize("path", LIBRARY)
def test_configs_of_the_library_are_frozen_and_have_no_defaults(path):
  assert config_faults(parse(path)) == [], f"{path}: defaults live in configs/ only"


def reads(tree: ast.AST) -> set[str]:
  """Attributes that are read, leaving out method calls and what __post_init__ only validates."""
  skipped: set[int] = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
      skipped |= {id(inner) for inner in ast.walk(node)}
    if isinstance(node, ast.Call):
      skipped.add(id(node.func))
  attributes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in skipped)
  return {node.attr for node in attributes if isinstance(node.ctx, ast.Load)}


def test_every_setting_is_read():
  """A knob that nobody reads looks like an experiment (lmpo's dead kl_coef)."""
  trees = [parse(path) for path in LIBRARY]
  read = set().union(*(reads(parse(path)) for path in sources("r1", "experiments")))
  for config in (config for tree in trees for config in configs_of(tree)):
    fields = [ast.unparse(f.target) for f in config.body if isinstance(f, ast.AnnAssign)]
    # Letters are sizes; the parameters' specs look them up by the letter of an axis.
    dead = [f for f in fields if f not in read and f not in dims.LETTERS]
    assert dead == [], f"{config.name} has settings that nothing reads as cfg.name: {dead}"


# Errors ----------------------------------------------------------------------------------------


def silent_handlers(tree: ast.AST) -> list[int]:
  """Lines of handlers that catch everything and neither raise nor report what they caught."""
  lines = []
  for node in ast.walk(tree):
    if not isinstance(node, ast.ExceptHandler):
      continue
    inner = [n for statement in node.body for n in ast.walk(statement)]
    told = any(isinstance(n, ast.Name) and n.id == node.name for n in inner)
    raised = any(isinstance(n, ast.Raise) for n in inner)
    broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
    if broad and not told and not raised:
      lines.append(node.lineno)
  return lines


@pytest.mark.parametrize("path", sources(*TREES))
def test_nothing_is_caught_in_silence(path):
  assert silent_handlers(parse(path)) == [], path


# The checks themselves ---------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("check", "good", "bad"),
  [
    (
      einsum_faults,
      'y_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["up_DF"].astype(x_BLD.dtype))',
      'y_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["down_FD"])',
    ),
    (einsum_faults, 'y_BL = jnp.einsum("BLD->BL", f(x)).astype(t)', 'y_B = jnp.einsum("BL->L", x)'),
    (imported_names, "from r1 import dims", "from r1.dims import LETTERS"),
    (hidden_defaults, "metrics.get('a', 0)", "config.grpo.get('clip', 10)"),
    (hidden_defaults, "getattr(cfg, letter)", "getattr(cfg, 'clip', 10)"),
    (
      config_faults,
      "@dataclasses.dataclass(frozen=True, kw_only=True)\nclass AConfig:\n  group: int",
      "@dataclasses.dataclass(frozen=True, kw_only=True)\nclass AConfig:\n  group: int = 8",
    ),
    (
      config_faults,
      "@dataclasses.dataclass(frozen=True)\nclass Score:\n  value: float = 0.0",
      "@dataclasses.dataclass(frozen=True)\nclass AConfig:\n  value: float",
    ),
    (
      silent_handlers,
      "try: f()\nexcept Exception as error: report(error)",
      "try: f()\nexcept Exception as error: pass",
    ),
    (lambda tree: oversized(tree, 2), "def f():\n  return 1", "def f():\n  a = 1\n  return a"),
    (
      lambda tree: upward("r1/model/layers.py", tree),
      "import jax\nfrom r1 import dims\nfrom r1.model import config",
      "from r1.train import step",
    ),
    (lambda tree: upward("r1/dims.py", tree), "import math", "from experiments import r1_zero"),
  ],
)
def test_each_check_passes_the_good_and_finds_the_bad(check, good, bad):
  assert not check(ast.parse(good))
  assert check(ast.parse(bad))


def test_a_setting_that_is_only_validated_or_called_is_not_read():
  tree = ast.parse("class A:\n  def __post_init__(self):\n    self.clip\nm.group(1)\ncfg.kl")
  assert reads(tree) == {"kl"}
