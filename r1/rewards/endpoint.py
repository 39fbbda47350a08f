"""A language model behind a URL that speaks OpenAI's chat completions: judges and rewriters.

What the server cannot be brought to answer is None, for the caller to count; nothing is guessed in
its place. vLLM, SGLang, llama.cpp and the hosted services all speak this.
"""

import concurrent.futures
import dataclasses
import functools
import http.client
import io
import json
import math
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

LARGEST = 1 << 24  # bytes of a reply; no answer is longer
PIECE = 1 << 16
OURS = (401, 403, 404)  # of the address or the key: no other request will fare better


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig:
  """Where the model is and how it is asked.

  url: up to /v1, without /chat/completions. model: its name there. key: the environment variable
  that holds the key, "" for none. temperature, max_tokens: of an answer. seconds: for one try, from
  its beginning until all of the answer is read, headers included. tries: of one request; pause_s
  before the second, doubled with every further one. threads: requests at once.
  """

  url: str
  model: str
  key: str
  temperature: float
  max_tokens: int
  seconds: float
  tries: int
  pause_s: float
  threads: int

  def __post_init__(self):
    if not self.url.startswith(("http://", "https://")):
      raise ValueError(f"url={self.url!r}: write it as http://host:port/v1")
    if min(self.tries, self.threads, self.max_tokens) < 1:
      raise ValueError(
        f"tries={self.tries}, threads={self.threads} and max_tokens={self.max_tokens} must be >= 1"
      )
    if not (0 < self.seconds < math.inf and 0 <= self.pause_s < math.inf and self.temperature >= 0):
      raise ValueError(
        f"seconds={self.seconds} must be above 0, pause_s={self.pause_s} and temperature="
        f"{self.temperature} not negative"
      )
    if self.key and not os.environ.get(self.key):
      raise ValueError(
        f"key={self.key!r} names an environment variable, which is not set: export it, or give "
        "key='' for a server that wants none"
      )


Message = dict[str, str]  # {"role": ..., "content": ...}


def ask(
  conversations: Sequence[Sequence[Message]], cfg: EndpointConfig, faults: list[str] | None = None
) -> list[str | None]:
  """The answer to each conversation, in order; None where every try failed.

  faults: grows by one text for each None. Raises RuntimeError where the server knows neither the
  address nor the key, which no further request would change.
  """
  pool = concurrent.futures.ThreadPoolExecutor(cfg.threads, "endpoint")
  try:
    asked = [pool.submit(_one, messages, cfg) for messages in conversations]
    answers = [future.result() for future in asked]
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
  if faults is not None:
    faults += [fault for text, fault in answers if text is None]
  return [text for text, _ in answers]


def _one(messages: Sequence[Message], cfg: EndpointConfig) -> tuple[str | None, str]:
  """(answer, "") or (None, what went wrong with the last try)."""
  fault = ""
  for number in range(cfg.tries):
    if number:
      time.sleep(cfg.pause_s * 2 ** (number - 1))
    try:
      return _content(_post(messages, cfg)), ""
    except urllib.error.HTTPError as error:
      with error:
        fault = f"{cfg.url}: HTTP {error.code}: {_said(error)}"
      if error.code in OURS:
        raise RuntimeError(f"{fault}; is the url right (it ends in /v1), and the key?") from error
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
      fault = f"{cfg.url}: {type(error).__name__}: {error}"
  return None, fault


def _said(error: urllib.error.HTTPError) -> str:
  """The beginning of what the server says about its refusal."""
  try:
    return error.read(300).decode("utf-8", "replace")
  except (OSError, http.client.HTTPException) as second:
    return f"{error.reason} (and no text: {second})"


def _post(messages: Sequence[Message], cfg: EndpointConfig) -> bytes:
  body = {
    "model": cfg.model,
    "messages": list(messages),
    "temperature": cfg.temperature,
    "max_tokens": cfg.max_tokens,
  }
  headers = {"Content-Type": "application/json"}
  if cfg.key:
    headers["Authorization"] = f"Bearer {os.environ[cfg.key]}"
  address = f"{cfg.url.rstrip('/')}/chat/completions"
  request = urllib.request.Request(address, json.dumps(body).encode(), headers)
  text, opener = bytearray(), _opener(time.monotonic() + cfg.seconds)
  with opener.open(request, timeout=cfg.seconds) as reply:
    while piece := reply.read1(PIECE):
      text += piece
      if len(text) > LARGEST:
        raise ValueError(f"a reply of more than {LARGEST} bytes")
  return bytes(text)


class _Until(io.RawIOBase):
  """What a socket brings until a moment of `time.monotonic`, then TimeoutError.

  A socket's own timeout begins anew with every byte, so a slow drip never meets it.
  """

  def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: float):
    self._raw, self._sock, self._end = raw, sock, end

  def readable(self) -> bool:
    return True

  def readinto(self, buffer):
    left = self._end - time.monotonic()
    if left <= 0:
      raise TimeoutError("timed out before the whole reply had come")
    self._sock.settimeout(left)
    return self._raw.readinto(buffer)

  def close(self):
    self._raw.close()
    super().close()


def _opener(end: float) -> urllib.request.OpenerDirector:
  """Opens addresses whose replies, headers and all, are read until `end` and no longer."""

  class Reply(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
      super().__init__(sock, *args, **kwargs)
      self.fp = io.BufferedReader(_Until(self.fp.detach(), sock, end))

  def connect(kind, *args, **kwargs):
    connection = kind(*args, **kwargs)
    connection.response_class = Reply
    return connection

  class Plain(urllib.request.HTTPHandler):
    def http_open(self, req):
      return self.do_open(functools.partial(connect, http.client.HTTPConnection), req)

  class Encrypted(urllib.request.HTTPSHandler):
    def https_open(self, req):
      return self.do_open(functools.partial(connect, http.client.HTTPSConnection), req)

  return urllib.request.build_opener(Plain, Encrypted)


def _content(reply: bytes) -> str:
  """The text of the first choice; ValueError, KeyError or TypeError where there is none."""
  try:
    text = json.loads(reply)["choices"][0]["message"]["content"]
  except IndexError as error:
    raise ValueError("a reply without choices") from error
  if not isinstance(text, str):
    raise ValueError(f"content {text!r:.100} in the reply, wanted a text")
  return text
