"""A chain of stages: what is done, what is stale, what may go on."""

import pathlib

import pytest

from r1.stages import chain
from r1.train import lineage, run
from tests.experiments import fake_stages

# ml_collections loads a config's file in a way that Python 3.12 drops.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ONE = chain.Link("one", "fake", "seed=1", ())
TWO = chain.Link("two", "fake", "seed=2,model={one}", (("scale", "3"),))


@pytest.fixture
def root(tmp_path, monkeypatch):
  """A folder for workdirs in a repository whose stages are fakes."""
  fake_stages.write(tmp_path)
  monkeypatch.chdir(tmp_path)
  return pathlib.Path("runs")


def make(link, root):
  assert fake_stages.play(chain.command(link, root)).returncode == 0


# The config --------------------------------------------------------------------------------------


def test_a_link_s_command_is_what_a_user_types(root):
  assert chain.command(TWO, root)[1:] == [
    "-m",
    "experiments.fake",
    f"--config=configs/fake.py:seed=2,model={root.resolve()}/one",
    "--config.scale=3",
    "--workdir=runs/two",
  ]
  assert chain.parents(TWO) == ["one"]


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ([("a", "fake", "", ()), ("a", "fake", "", ())], "stage 'a': wanted a name"),
    ([("a/b", "fake", "", ())], "stage 'a/b': wanted a name"),
    ([("a", "fake", "model={b}", ()), ("b", "fake", "", ())], r"'a': {b} is no earlier stage"),
  ],
)
def test_a_chain_that_cannot_be_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    chain.links(given)


def test_a_part_of_the_chain_is_named_by_its_ends():
  every = chain.links([(name, "fake", "", ()) for name in "abcd"])
  names = lambda *ends: "".join(link.name for link in chain.chosen(every, *ends))
  assert names(None, None) == "abcd"
  assert names("b", None) == "bcd"
  assert names(None, "b") == "ab"
  assert names("b", "c") == "bc"
  with pytest.raises(ValueError, match="no stage 'e'; there are a, b, c, d"):
    names("e", None)
  with pytest.raises(ValueError, match="b comes before c; the order is a, b, c, d"):
    names("c", "b")


# Where a link stands -----------------------------------------------------------------------------


def test_a_link_is_missing_then_done(root):
  assert chain.state(ONE, root) == chain.State(done=False, begun=False, stale=[])
  make(ONE, root)
  assert chain.state(ONE, root).done


def test_a_link_that_died_may_go_on(root):
  run.claim(root / "one", "fake", fake_stages.get_config("seed=1").to_dict())
  assert chain.state(ONE, root) == chain.State(done=False, begun=True, stale=[])


@pytest.mark.parametrize("finished", [True, False])
def test_another_setting_makes_what_is_there_stale(root, finished):
  make(ONE, root)
  if not finished:
    (root / "one" / "finished.json").unlink()
  other = chain.Link("one", "fake", "seed=5", ())
  assert chain.state(other, root) == chain.State(
    done=False, begun=False, stale=["seed: 1 there, 5 now"]
  )


def test_an_override_is_a_setting_too(root):
  make(ONE, root)
  assert chain.state(chain.Link("one", "fake", "seed=1", (("scale", "1"),)), root).done
  assert chain.state(chain.Link("one", "fake", "seed=1", (("scale", "2"),)), root).stale


def test_another_parent_makes_what_is_there_stale_and_the_same_made_again_does_not(root):
  make(ONE, root)
  make(TWO, root)
  assert chain.state(TWO, root).done
  chain.aside(root / "one")
  make(ONE, root)
  assert chain.state(TWO, root).done
  lineage.finish(root / "one", {"model": "another"})
  (line,) = chain.state(TWO, root).stale
  assert line == f"{root.resolve()}/one was digest of 1, is another"


def test_a_folder_is_the_same_however_it_is_spelled(root, tmp_path):
  make(ONE, root)
  make(TWO, root)
  (tmp_path / "link").symlink_to(root.resolve())
  spelled = [root.resolve(), tmp_path / "runs" / ".." / "runs", tmp_path / "link"]
  for other in spelled:
    assert chain.state(TWO, other).done
    assert chain.graph([ONE, TWO], other) == chain.graph([ONE, TWO], root)
  given = chain.settings(TWO, root.resolve())
  assert given[0] == f"--config=configs/fake.py:seed=2,model={tmp_path}/runs/one", "as it was given"


def test_a_setting_that_there_is_not_is_refused_before_anything_runs(root):
  with pytest.raises(ValueError, match="scal"):
    chain.state(chain.Link("one", "fake", "seed=1", (("scal", "2"),)), root)


def test_what_is_set_aside_keeps_its_files_and_every_earlier_one(root):
  for seed in (1, 2, 3):
    make(chain.Link("one", "fake", f"seed={seed}", ()), root)
    chain.aside(root / "one")
  assert sorted(path.name for path in root.iterdir()) == [f"one.stale-{n}" for n in (1, 2, 3)]
  assert [fake_stages.value(root / f"one.stale-{n}") for n in (1, 2, 3)] == [1, 2, 3]


def test_two_pipelines_do_not_share_a_folder(root):
  with (
    chain.alone(root),
    pytest.raises(ValueError, match="is at work in runs"),
    chain.alone(root),
  ):
    pass
  with chain.alone(root):
    pass


def test_the_graph_names_links_wherever_the_folder_lies(root):
  make(ONE, root)
  make(TWO, root)
  other = root / "elsewhere"
  make(ONE, other)
  make(TWO, other)
  found = chain.graph([ONE, TWO], root)
  assert found == chain.graph([ONE, TWO], other)
  assert found["two"]["parents"] == {"one": "digest of 1"}
  assert found["two"]["outputs"] == {"model": "digest of 7"}
  assert found["two"]["counts"] == {"train": {"kept": 3, "dropped": {"wrong": 1}}}
