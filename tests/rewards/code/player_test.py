"""The player answers with plain values and keeps the rest; nothing that the code does stops it."""

from r1.rewards.code import player, wire


def called(code, name, *args, base=None, kept=None, key="1", prelude=False):
  call = {"id": key, "base": base, "name": name, "args": wire.pack(args), "kwargs": wire.pack({})}
  return player.answer(call, player.load(code, prelude), {} if kept is None else kept)


def test_a_plain_value_is_answered():
  assert called("def f(a): return (a, a)", "f", 2) == {"id": "1", "value": {"t": [2, 2]}}


def test_an_object_is_kept_under_its_id():
  kept = {}
  assert called("class A: x = 7", "A", kept=kept) == {"id": "1", "object": "A"}
  look = {"id": "2", "base": "1", "name": "x", "args": None, "kwargs": None}
  assert player.answer(look, {}, kept) == {"id": "2", "value": 7}


def test_what_a_call_raises_is_told_by_its_builtin_types():
  code = "class Mine(KeyError): pass\ndef f(): raise Mine('no')"
  said = called(code, "f")
  assert said["raised"] == ["KeyError", "LookupError", "Exception", "BaseException", "object"]
  assert said["text"] == "Mine: 'no'"
  assert called("def f(): raise SystemExit(0)", "f")["raised"][0] == "SystemExit"
  assert called("", "f")["raised"][0] == "AttributeError"


def test_changed_arguments_come_back_and_unchanged_ones_do_not():
  assert called("def f(a): a.append(1)", "f", [0])["args"] == {"t": [[0, 1]]}
  assert "args" not in called("def f(a): return a", "f", [0])


def test_a_method_of_leetcodes_class_is_found_and_may_use_its_names():
  code = "class Solution:\n  def f(self, a: List[int]) -> int: return Counter(a)[1] + gcd(4, 6)"
  assert called(code, "f", [1, 1], prelude=True)["value"] == 4


def test_the_prelude_leaves_the_builtins_alone():
  assert (
    called("def f(): return pow(2, 5, 7), abs(-1), max(1, 2), open", "f", prelude=True)["object"]
    == "tuple"
  )
  assert called("def f(): return pow(2, 5, 7)", "f", prelude=True)["value"] == 4


def test_an_iterator_is_cut():
  kept = {}
  called("def f():\n  n = 0\n  while True: yield n; n += 1", "f", kept=kept)
  items = called("", "__iter__", base="1", kept=kept, key="2")
  assert len(items["value"]) == player.LONGEST


def test_the_code_is_not_the_main_module():
  assert (
    called("x = []\nif __name__ == '__main__': x.append(1)\ndef f(): return x", "f")["value"] == []
  )
