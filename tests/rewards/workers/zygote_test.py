"""The zygote's own parts; its processes are tested through the pool."""

import json
import math
import multiprocessing
import threading

import pytest

from r1.rewards.workers import zygote


def test_work_is_found_by_its_dotted_name():
  assert zygote.find("math:sqrt") is math.sqrt
  with pytest.raises(AttributeError):
    zygote.find("math:no_such")


def test_serving_ends_with_the_channel():
  ours, theirs = multiprocessing.Pipe()
  server = threading.Thread(target=zygote.serve, args=(math.sqrt, theirs))
  server.start()
  answers = []
  for job in ([9], [-1]):
    ours.send_bytes(json.dumps(job).encode())
    answers.append(json.loads(ours.recv_bytes()))
  ours.close()
  server.join(5)
  assert not server.is_alive()
  assert answers[0] == [zygote.DONE, 3.0]
  assert answers[1][0] == zygote.RAISED
  assert answers[1][1].startswith("ValueError")
