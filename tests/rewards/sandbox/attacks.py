"""Hostile programs, and a command that runs them all in one sandbox and prints what came of them.

`python -m tests.rewards.sandbox.attacks` reads on stdin, as JSON, what of the host the attacks
are to aim at; the same object is every program's stdin. An attempt prints "refused", or ESCAPED
where it succeeded. Only the standard library is needed, so that any user's Python can run it.
"""

import dataclasses
import json
import sys
import time

from r1.rewards.sandbox import lanes, program

LIMITS = program.Limits(
  wall_s=2.0,
  build_s=10.0,
  cpu_s=1.0,
  memory_bytes=256 << 20,
  disk_bytes=8 << 20,
  output_bytes=1 << 16,
  processes=16,
)

PRELUDE = """
import ctypes, json, mmap, os, resource, signal, socket, struct, subprocess, sys, threading, time
host = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
  result = getattr(libc, name)(*arguments)
  if result == -1:
    raise OSError(ctypes.get_errno(), name)
  return result
def attempt(what, action):
  try:
    got = action()
  except (OSError, ValueError) as error:
    print("refused", what, error, flush=True)
  else:
    print("ESCAPED", what, repr(got)[:200], flush=True)
def read(path):
  with open(path, "rb") as file:
    return file.read(100)
def write(path):
  with open(path, "wb") as file:
    file.write(b"ESCAPED")
"""


@dataclasses.dataclass(frozen=True)
class Attack:
  """A program, and every way in which its run may end; "refused" means ok with all refused."""

  code: str
  ends: tuple[str, ...] = ("refused",)
  language: str = "python"


REACH = {
  "tcp": Attack('attempt("tcp", lambda: socket.create_connection(("127.0.0.1", host["tcp"]), 1))'),
  "tcp to the outside": Attack(
    'attempt("tcp", lambda: socket.create_connection(("1.1.1.1", 53), 1))'
  ),
  "udp": Attack("""
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b"ESCAPED", ("127.0.0.1", host["udp"]))
attempt("udp to the outside", lambda: sender.sendto(b"ESCAPED", ("1.1.1.1", 53)))"""),
  "dns": Attack('attempt("dns", lambda: socket.getaddrinfo("example.com", 80))'),
  "abstract unix socket": Attack("""
client = socket.socket(socket.AF_UNIX)
attempt("abstract", lambda: client.connect("\\0" + host["abstract"]))"""),
  "unix socket by path": Attack("""
client = socket.socket(socket.AF_UNIX)
attempt("path", lambda: client.connect(host["folder"] + "/socket"))"""),
  "raw and packet sockets": Attack("""
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))"""),
  "network interfaces": Attack("""
others = [name for _, name in socket.if_nameindex() if name != "lo"]
print("ESCAPED" if others else "refused", others)"""),
  "read of the host": Attack("""
paths = [host["folder"] + "/secret", "/etc/passwd", "/etc/shadow", "/root/.bashrc", "/home"]
for path in [*paths, "/var", "/run", "/sys/kernel", "/boot", "/proc/kcore", "/proc/kmsg"]:
  attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else read(path))"""),
  "environment": Attack("""
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
  try:
    print("ESCAPED" * (host["secret"].encode() in open(f"/proc/{pid}/environ", "rb").read()))
  except OSError:
    pass
print("ESCAPED" if host["secret"] in str(os.environ) else "refused")"""),
  "processes of the host": Attack("""
host["pid"] > 50 and attempt("stat", lambda: read(f"/proc/{host['pid']}/stat"))
print("ESCAPED" * (len([p for p in os.listdir("/proc") if p.isdigit()]) > 2))"""),
  "write outside": Attack("""
for folder in (host["folder"], "/", "/usr", "/usr/lib", "/etc", "/dev", "/proc", sys.prefix):
  attempt(folder, lambda: write(folder + "/written"))
attempt("interpreter", lambda: write(sys.executable))
attempt("standard library", lambda: write(os.__file__))"""),
  "settings of the kernel": Attack("""
for name in ("kernel/core_pattern", "vm/overcommit_memory", "kernel/hostname", "fs/file-max"):
  attempt(name, lambda: write("/proc/sys/" + name))
attempt("sysrq", lambda: write("/proc/sysrq-trigger"))
attempt("uid map", lambda: write("/proc/self/uid_map"))"""),
  "symlinks in the working directory": Attack("""
os.symlink(host["folder"] + "/secret", "link")
attempt("read", lambda: read("link"))
os.symlink(host["folder"], "folder")
attempt("write", lambda: write("folder/written"))
os.symlink("/usr/bin/written", "target")
attempt("through", lambda: write("target"))
os.symlink("..", "up")
attempt("up", lambda: write("up/" * 20 + "etc/written"))"""),
  "hard links": Attack('attempt("link", lambda: os.link("/usr/bin/env", "/usr/bin/linked"))'),
  "running interpreter replaced": Attack("""
attempt("interpreter", lambda: write("/proc/self/exe"))
attempt("write", lambda: write(os.path.realpath("/proc/self/exe")))"""),
  "inherited descriptors": Attack("""
mine = os.open("/dev/null", os.O_RDONLY)
print("ESCAPED" if mine != 3 else "refused", mine, os.listdir("/proc/self/fd"))"""),
  "descriptors of process 1": Attack("""
def steal():
  for number in os.listdir("/proc/1/fd"):
    target = os.readlink(f"/proc/1/fd/{number}")
    if target.startswith("/") and not target.startswith("/dev/null"):
      return target
  raise OSError("nothing of the host among them")
attempt("descriptors", steal)"""),
  "directory of process 1": Attack("""
for name in ("root", "cwd"):
  attempt(name, lambda: read(f"/proc/1/{name}" + host["folder"] + "/secret"))"""),
  "devices": Attack("""
import stat
attempt("mknod", lambda: os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(254, 0)))
for name in ("mem", "kmem", "kmsg", "vda", "sda", "tty", "ptmx", "fuse", "kvm", "net/tun"):
  attempt(name, lambda: read("/dev/" + name))"""),
  "input into a terminal": Attack("""
import fcntl, termios
for number in (0, 1, 2):
  attempt("TIOCSTI", lambda: fcntl.ioctl(number, termios.TIOCSTI, b"x"))"""),
  "write to stdin": Attack("""
attempt("write", lambda: os.write(os.open("/dev/stdin", os.O_RDWR), b"x"))"""),
}

PRIVILEGES = {
  "mount": Attack("""
attempt("tmpfs", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("bind", lambda: call("mount", b"/proc", b"/tmp", None, 4096, None))
attempt("remount", lambda: call("mount", None, b"/usr", None, 32, None))
attempt("umount", lambda: call("umount2", b"/proc", 2))
attempt("fsopen", lambda: call("syscall", 430, b"tmpfs", 0))"""),
  "new name spaces": Attack("""
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000):
  attempt(hex(flag), lambda: call("unshare", flag))
  number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
  attempt("clone", lambda: call("syscall", number, flag | 17, 0, 0, 0, 0) or os._exit(0))
arguments = (ctypes.c_uint64 * 8)(0x10000000, 0, 0, 0, 17, 0, 0, 0)
attempt("clone3", lambda: call("syscall", 435, arguments, 64) or os._exit(0))"""),
  "name spaces of process 1": Attack("""
for name in ("user", "mnt", "pid_for_children"):
  attempt(name, lambda: call("setns", os.open(f"/proc/1/ns/{name}", os.O_RDONLY), 0))"""),
  "chroot": Attack("""
os.mkdir("jail")
attempt("chroot", lambda: os.chroot("jail"))
attempt("pivot_root", lambda: call("pivot_root", b"jail", b"jail"))"""),
  "other uids": Attack("""
for uid in (0, 1, 65534):
  attempt("setuid", lambda: os.setuid(uid))
  attempt("setresgid", lambda: os.setresgid(uid, uid, uid))
  attempt("chown", lambda: os.chown(".", uid, uid))
attempt("setgroups", lambda: os.setgroups([0]))"""),
  "setuid programs": Attack("""
import glob
found = [p for p in glob.glob("/usr/bin/*") if os.path.isfile(p) and os.stat(p).st_mode & 0o4000]
for path in found:
  with subprocess.Popen([path], stdin=-3, stdout=-3, stderr=-3) as child:
    status = read(f"/proc/{child.pid}/status") and open(f"/proc/{child.pid}/status").read()
    print("ESCAPED" * ("Uid:\\t0" in status), "refused", path)
    child.kill()
open("own", "wb").close()
os.chmod("own", 0o4755)
print("refused" if "NoNewPrivs:\\t1" in open("/proc/self/status").read() else "ESCAPED")"""),
  "capabilities": Attack("""
sets = [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")]
print("refused" if len(sets) == 5 and not any(int(s, 16) for s in sets) else "ESCAPED", sets)"""),
  "ptrace": Attack("""
for pid in (1, os.getppid()):
  attempt("attach", lambda: call("ptrace", 16, pid, None, None))
  attempt("seize", lambda: call("ptrace", 0x4206, pid, None, None))
attempt("me", lambda: call("ptrace", 0, 0, None, None))"""),
  "memory of process 1": Attack("""
place = (ctypes.c_char * 8)()
pair = (ctypes.c_void_p * 2)(ctypes.addressof(place), 8)
attempt("readv", lambda: call("process_vm_readv", 1, pair, 1, pair, 1, 0))
attempt("writev", lambda: call("process_vm_writev", 1, pair, 1, pair, 1, 0))
def poke():
  start = int(open("/proc/1/maps").readline().split("-")[0], 16)
  with open("/proc/1/mem", "r+b", buffering=0) as memory:
    memory.seek(start)
    memory.write(b"\\0" * 64)
attempt("mem", poke)"""),
  "descriptors by pidfd": Attack("""
attempt("pidfd_getfd", lambda: call("syscall", 438, os.pidfd_open(1), 0, 0))"""),
  "keys, bpf, perf, io_uring": Attack("""
x86 = os.uname().machine == "x86_64"
attempt("keyctl", lambda: call("syscall", 250 if x86 else 219, 0, -3, 0))
attempt("add_key", lambda: call("syscall", 248 if x86 else 217, b"user", b"k", b"v", 1, -4))
attempt("bpf", lambda: call("syscall", 321 if x86 else 280, 0, ctypes.create_string_buffer(64), 64))
attempt("perf", lambda: call("syscall", 298 if x86 else 241, 0, 0, -1, -1, 0))
attempt("userfaultfd", lambda: call("syscall", 323 if x86 else 282, 0))
attempt("io_uring", lambda: call("syscall", 425, 8, ctypes.create_string_buffer(120)))"""),
  "resource limits raised": Attack("""
for name in ("CPU", "AS", "FSIZE", "NPROC", "CORE", "NOFILE"):
  kind = getattr(resource, "RLIMIT_" + name)
  hard = resource.getrlimit(kind)[1]
  print("ESCAPED" * (hard == resource.RLIM_INFINITY), name, hard)
  attempt(name, lambda: resource.setrlimit(kind, (hard + 1, hard + 1)))
attempt("nice", lambda: os.nice(-5))
attempt("oom score", lambda: open("/proc/1/oom_score_adj", "w").write("-1000"))"""),
}

SIGNALS = {
  "kill of the parent": Attack(
    "os.kill(os.getppid(), 9)\nprint('refused')", ("refused", "failed", "lost")
  ),
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

ATTACKS = REACH | PRIVILEGES | SIGNALS | RESOURCES | COMPILED

HEALTHY = program.Program(
  code="import sys\nprint(sum(map(int, sys.stdin.read().split())))",
  language="python",
  stdins=(b"1 2 3", b"40 2"),
  files={},
  limits=LIMITS,
)


def as_program(attack: Attack, host: str) -> program.Program:
  prelude = PRELUDE if attack.language == "python" else ""
  return program.Program(
    code=prelude + attack.code,
    language=attack.language,
    stdins=(host.encode(),),
    files={},
    limits=LIMITS,
  )


def outcome(result: program.Result) -> dict:
  """What the judge of an attack looks at, as plain values."""
  failed_build = result.build if result.build and not result.runs else None
  run = failed_build or result.runs[0]
  return {
    "end": "build" if failed_build else run.status,
    "exit_code": run.exit_code,
    "stdout": run.stdout[:10000].decode(errors="replace"),
    "stderr": run.stderr[:10000].decode(errors="replace"),
    "seconds": run.seconds,
  }


def main():
  host = sys.stdin.read()
  begin = time.monotonic()
  with lanes.open(2) as box:
    results = box.run([as_program(attack, host) for attack in ATTACKS.values()])
    (after,) = box.run([HEALTHY])
  said = {name: outcome(result) for name, result in zip(ATTACKS, results)}
  healthy = [run.stdout.decode() for run in after.runs]
  seconds = time.monotonic() - begin
  print(json.dumps({"attacks": said, "healthy": healthy, "seconds": seconds}))


if __name__ == "__main__":
  main()
