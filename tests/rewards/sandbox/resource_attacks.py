"""Hostile programs that use up what there is, or that do not end; the compiled ones too."""

from tests.rewards.sandbox import attacks

Attack = attacks.Attack

SIGNALS = {
  "kill of the parent": Attack("os.kill(os.getppid(), 9)\nprint('refused')", ("refused", "failed")),
  "kill of process 1": Attack(
    "for s in (9, 15, 19, 11, 6):\n  libc.kill(1, s)\ntime.sleep(0.2)\nprint('refused')"
  ),
  "kill of the host's process": Attack(
    'attempt("kill", lambda: os.kill(host["pid"] if host["pid"] > 50 else 2**22 - 1, 9))'
  ),
  "kill of everybody": Attack("os.kill(-1, 9)\nos.kill(os.getpid(), 9)", ("failed",)),
  "kill of the group": Attack("os.killpg(0, 9)\ntime.sleep(9)", ("failed",)),
  "stop of itself": Attack("os.kill(os.getpid(), signal.SIGSTOP)", ("timeout",)),
  "signals ignored": Attack(
    "for s in range(1, 32):\n  s in (9, 19) or signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    ("timeout",),
  ),
  "signals blocked": Attack(
    "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)",
    ("timeout",),
  ),
  "orphan that holds the output": Attack("""
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    time.sleep(60)
  os._exit(0)
print("refused")"""),
  "orphan that lets go of the output": Attack("""
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    os.closerange(0, 100)
    while True: time.sleep(1)
  os._exit(0)
print("refused")"""),
  "output closed and alive": Attack("os.closerange(0, 100)\ntime.sleep(60)", ("timeout",)),
  "leaving early": Attack("os._exit(0)\nprint('ESCAPED')", ("ok",)),
}

RESOURCES = {
  "fork bomb": Attack(
    """
while True:
  try:
    os.fork()
  except OSError:
    pass""",
    ("timeout", "failed"),
  ),
  "fork count": Attack("""
children = 0
try:
  while children < 100:
    if os.fork() == 0:
      time.sleep(60)
      os._exit(0)
    children += 1
except OSError as error:
  print("refused", children, error)
print("ESCAPED" * (children >= 16 or children < 10), children)"""),
  "thread bomb": Attack("""
def started():
  try:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return True
  except RuntimeError:
    return False
threading.stack_size(1 << 16)
count = sum(started() for _ in range(100))
print("ESCAPED" if count >= 16 else "refused", count, flush=True)
os._exit(0)"""),
  "memory bomb": Attack("held = []\nwhile True: held.append(bytearray(1 << 20))", ("memory",)),
  "memory in many processes": Attack(
    """
for _ in range(3):
  os.fork()
held = b"x" * (100 << 20)
time.sleep(60)""",
    ("memory",),
  ),
  "memory hidden": Attack(
    """
call("prctl", 4, 0)
for _ in range(3):
  os.fork()
held = b"x" * (100 << 20)
time.sleep(60)""",
    ("memory",),
  ),
  "shared memory": Attack("""
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shmget", lambda: call("shmget", 0, 1 << 30, 0o1600))
def fill():
  with open("/dev/shm/x", "wb") as file:
    for _ in range(100):
      file.write(b"x" * (1 << 20))
attempt("/dev/shm", fill)
attempt("message queue", lambda: call("msgget", 0, 0o1600))"""),
  "memory in sockets": Attack("""
def fill():
  held, total = [], 0
  try:
    while True:
      held += socket.socketpair()
      for end in held[-2:]:
        end.setblocking(False)
        try:
          while True: total += end.send(b"x" * 16384)
        except BlockingIOError: pass
  except OSError:
    return total
told, tell = os.pipe()
for _ in range(14):
  if os.fork() == 0:
    os.write(tell, struct.pack("Q", fill()))
    time.sleep(60)
totals = [struct.unpack("Q", os.read(told, 8))[0] for _ in range(14)]
print("ESCAPED" if sum(totals) > 256 << 20 else "refused", sum(totals) >> 20, flush=True)"""),
  "disk fill": Attack("""
def fill():
  for number in range(100):
    with open(f"/tmp/{number}", "wb") as file:
      file.write(b"x" * (1 << 20))
attempt("fill", fill)
held = sum(os.path.getsize("/tmp/" + name) for name in os.listdir("/tmp"))
print("ESCAPED" * (held > 9 << 20))"""),
  "large sparse file": Attack("""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
attempt("sparse", lambda: os.truncate(os.open("x", os.O_RDWR | os.O_CREAT), 1 << 40))
other = os.open("y", os.O_RDWR | os.O_CREAT)
attempt("allocated", lambda: os.posix_fallocate(other, 0, 1 << 26))"""),
  "many small files": Attack(
    "for n in range(10**9):\n  open(f'/tmp/{n}', 'w').close()", ("timeout", "failed")
  ),
  "many descriptors": Attack("attempt('open', lambda: [os.dup(0) for _ in range(1000)])"),
  "endless stdout": Attack("while True: print('x' * 1000)", ("output",)),
  "endless stderr": Attack("while True: print('x' * 1000, file=sys.stderr)", ("output",)),
  "endless output of children": Attack(
    """
os.fork()
while True: os.write(1, b"x" * 1000)""",
    ("output",),
  ),
  "sleep": Attack("time.sleep(60)", ("timeout",)),
  "busy loop": Attack("while True: pass", ("timeout",)),
  "busy loop in C": Attack("(7 ** (10 ** 8)) % 3", ("timeout",)),
  "catastrophic regex": Attack("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", ("timeout",)),
  "input for ever": Attack("""
def endless():
  while True:
    if not os.read(0, 1000):
      raise OSError("end of input")
attempt("read", endless)"""),
  "waiting for input on another pipe": Attack(
    "held = os.pipe()\nos.read(held[0], 1)", ("timeout",)
  ),
  "deep recursion": Attack(
    "def f(): f()\nsys.setrecursionlimit(10**9)\nf()", ("failed", "memory", "timeout")
  ),
  "core dump": Attack("""
if os.fork() == 0:
  os.abort()
os.wait()
left = [name for name in os.listdir(".") if "core" in name]
print("ESCAPED" if left else "refused", left)"""),
}

COMPILED = {
  "fork bomb, C++": Attack(
    "#include <unistd.h>\nint main(){for(;;)fork();}", ("timeout", "failed"), "cpp"
  ),
  "memory bomb, C++": Attack(
    "#include <cstring>\nint main(){for(;;)memset(new char[1<<20],1,1<<20);}", ("memory",), "cpp"
  ),
  "memory bomb in C, killed": Attack(
    "#include <cstdlib>\n#include <cstring>\n"
    "int main(){for(;;){void*p=malloc(1<<20);memset(p,1,1<<20);}}",
    ("failed",),
    "cpp",
  ),
  "leaving early, C++": Attack("#include <cstdlib>\nint main(){_Exit(0);}", ("ok",), "cpp"),
  "include of a device": Attack('#include "/dev/zero"\nint main(){}', ("build",), "cpp"),
  "include of the host": Attack('#include "/etc/passwd"\nint main(){}', ("build",), "cpp"),
  "large binary": Attack("char x[1u<<29]={1};int main(){}", ("build",), "cpp"),
  "endless template": Attack(
    "template<int N>struct A{A<N+1>a;A<N-1>b;};int main(){A<0>a;}", ("build",), "cpp"
  ),
  "fork bomb, bash": Attack(":(){ :|:& };:; wait", ("timeout", "failed", "ok"), "bash"),
  "network, bash": Attack(
    "(exec 3<>/dev/tcp/1.1.1.1/53) && echo ESCAPED || echo refused", language="bash"
  ),
  "removal of everything": Attack(
    "rm -rf --no-preserve-root / 2>/dev/null; echo refused", ("refused", "timeout"), "bash"
  ),
}
