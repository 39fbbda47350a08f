"""A local server that speaks chat completions, as a test wants it to."""

import contextlib
import http.server
import json
import socketserver
import threading


def completion(text) -> dict:
  return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


@contextlib.contextmanager
def serving(answer):
  """(url, requests) of a server that says answer(request): an object, or (code, bytes or pieces).

  requests: (headers, body) of each. Pieces are sent one by one, as they come.
  """
  requests, lock = [], threading.Lock()

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
      with lock:
        requests.append((dict(self.headers), request))
      said = answer(request)
      code, body = said if isinstance(said, tuple) else (200, json.dumps(said).encode())
      self.send_response(code if self.path == "/v1/chat/completions" else 404)
      self.end_headers()
      with contextlib.suppress(OSError):  # the client may have gone
        for piece in [body] if isinstance(body, bytes) else body:
          self.wfile.write(piece)
          self.wfile.flush()

    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  server.daemon_threads = True
  threading.Thread(target=server.serve_forever, daemon=True).start()
  try:
    yield f"http://127.0.0.1:{server.server_port}/v1", requests
  finally:
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def listening(talk):
  """The URL of a server that leaves every connection to talk(socket), until the client goes."""

  class Handler(socketserver.BaseRequestHandler):
    def handle(self):
      with contextlib.suppress(OSError):
        talk(self.request)

  with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
      yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
      server.shutdown()
