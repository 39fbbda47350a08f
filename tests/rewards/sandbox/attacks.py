"""Hostile programs that reach for the host or for privileges.

An attempt prints "refused", or ESCAPED where it succeeded; stdin is a JSON object that says what
of the host to aim at.
"""

import dataclasses

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
  "sockets that no name space keeps in": Attack("""
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK))
attempt("ciphers of the kernel", lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET))"""),
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
