"""Answers come in order; what a server does wrong is None and counted, never guessed."""

import threading
import time

import pytest

from r1.rewards import endpoint
from tests.rewards import servers

SETTINGS = {
  "model": "judge",
  "key": "",
  "temperature": 0.5,
  "max_tokens": 64,
  "seconds": 5.0,
  "tries": 1,
  "pause_s": 0.0,
  "threads": 4,
}


def config(url, **changes):
  return endpoint.EndpointConfig(url=url, **SETTINGS | changes)


def user(text):
  return [{"role": "user", "content": text}]


def asked(request):
  return request["messages"][-1]["content"]


def test_answers_come_in_order_and_requests_hold_the_settings(monkeypatch):
  monkeypatch.setenv("JUDGE_KEY", "secret")
  with servers.serving(lambda r: servers.completion(asked(r).upper())) as (url, requests):
    found = endpoint.ask([user(f"q{i}") for i in range(9)], config(url, key="JUDGE_KEY"))
  assert found == [f"Q{i}" for i in range(9)]
  assert {headers["Authorization"] for headers, _ in requests} == {"Bearer secret"}
  bodies = sorted((body for _, body in requests), key=asked)
  assert bodies[0] == {
    "model": "judge",
    "messages": user("q0"),
    "temperature": 0.5,
    "max_tokens": 64,
  }


def test_without_a_key_none_is_sent():
  with servers.serving(lambda r: servers.completion("ok")) as (url, requests):
    assert endpoint.ask([user("q")], config(url)) == ["ok"]
  assert "Authorization" not in requests[0][0]


@pytest.mark.parametrize(
  ("reply", "fault"),
  [
    ((500, b"out of memory"), "HTTP 500: out of memory"),
    ((429, b"slow down"), "HTTP 429: slow down"),
    ((200, b"not json"), "JSONDecodeError"),
    ((200, b"[]"), "TypeError"),
    ((200, b"{}"), "KeyError: 'choices'"),
    ({"choices": []}, "a reply without choices"),
    (servers.completion(None), "content None in the reply, wanted a text"),
    (servers.completion(["a"]), "wanted a text"),
  ],
)
def test_a_fault_is_tried_again_so_often_and_is_none_in_the_end(reply, fault):
  """One of three questions fails: the others have their answers."""

  def answer(request):
    return reply if asked(request) == "bad" else servers.completion("fine")

  faults = []
  with servers.serving(answer) as (url, requests):
    given = [user("a"), user("bad"), user("b")]
    assert endpoint.ask(given, config(url, tries=3), faults) == ["fine", None, "fine"]
  assert len(faults) == 1
  assert fault in faults[0]
  assert [asked(body) for _, body in requests].count("bad") == 3
  assert len(requests) == 5


def test_a_server_that_recovers_is_heard():
  codes = iter([(503, b""), (502, b""), servers.completion("at last")])
  faults = []
  with servers.serving(lambda r: next(codes)) as (url, _):
    assert endpoint.ask([user("q")], config(url, tries=3), faults) == ["at last"]
  assert faults == []


def test_a_server_that_never_answers_times_out():
  gate, faults = threading.Event(), []

  def answer(_):
    gate.wait()
    return servers.completion("too late")

  with servers.serving(answer) as (url, requests):
    assert endpoint.ask([user("q")], config(url, seconds=0.1, tries=2), faults) == [None]
    gate.set()
  assert len(requests) == 2
  assert "timed out" in faults[0].lower()


def test_a_server_that_drips_for_ever_times_out_too():
  """Every byte comes in time, so a timeout of the socket alone would wait for the last one."""
  stop, faults = threading.Event(), []

  def drip():
    while not stop.wait(0.02):
      yield b" "

  with servers.serving(lambda _: (200, drip())) as (url, _):
    assert endpoint.ask([user("q")], config(url, seconds=0.1), faults) == [None]
    stop.set()
  assert "timed out" in faults[0]


def test_a_server_that_drips_its_headers_times_out_at_the_same_moment():
  """Until its headers are read there is no reply whose pieces could be looked at by the clock."""
  faults = []

  def drip(connection):
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(250):  # for five seconds, or until the client goes
      connection.sendall(b"x")
      time.sleep(0.02)

  with servers.listening(drip) as url:
    started = time.monotonic()
    assert endpoint.ask([user("q")], config(url, seconds=0.2), faults) == [None]
    assert time.monotonic() - started < 4
  assert "timed out" in faults[0]


def test_a_reply_without_end_is_cut(monkeypatch):
  monkeypatch.setattr(endpoint, "LARGEST", 1000)
  faults = []
  with servers.serving(lambda _: (200, b" " * 2000)) as (url, _):
    assert endpoint.ask([user("q")], config(url), faults) == [None]
  assert "a reply of more than 1000 bytes" in faults[0]


def test_nobody_at_the_address_is_none():
  with servers.serving(lambda r: None) as (url, _):
    pass  # closed again
  faults = []
  assert endpoint.ask([user("q")], config(url), faults) == [None]
  assert "URLError" in faults[0]


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_wrong_address_or_key_ends_the_run(code):
  with (
    servers.serving(lambda _: (code, b"who are you?")) as (url, requests),
    pytest.raises(RuntimeError, match=rf"HTTP {code}: who are you\?; is the url right"),
  ):
    endpoint.ask([user("q")], config(url, tries=3))
  assert len(requests) == 1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"url": "localhost:8000"}, "write it as http://host:port/v1"),
    ({"tries": 0}, "tries=0, threads=4 and max_tokens=64 must be >= 1"),
    ({"seconds": 0.0}, r"seconds=0\.0 must be above 0"),
    ({"seconds": float("nan")}, "seconds=nan must be above 0"),
    ({"key": "R1_NO_SUCH_KEY"}, "names an environment variable, which is not set"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**{"url": "http://localhost/v1"} | changes)
