"""Distilled students (arXiv 2501.12948 sections 2.4 and 3.2; v2, section B.4.3 and table 6).

  python -m experiments.distill --config=configs/distill.py:tiny,data=runs/harvest \
    --workdir=runs/student
  python -m experiments.distill --config=configs/distill.py:paper,student=llama-8b,data=sft.jsonl \
    --workdir=runs/llama-8b

`tiny` teaches a model four times smaller than the embedded world's base, on a base of its own;
without `data=` it learns worked solutions of that world. `paper` has the paper's numbers for one of
its six students, from the checkpoint that it names; `model=` is another copy of that, or a preset
for a dry run. `model=MODEL,data=FILE` is a start for one accelerator. `teacher=MODEL,logits=SHARE`
adds the next-token distribution of a teacher with the student's tokenizer.
"""

import ml_collections

from configs import common, pretrain

# Table 6 names the bases and the peaks of the learning rates. Published students hold 131,072
# positions, and the smallest has a head of its own, which its base shares with the embedding. The
# meshes are choices, for chips of 80 GB.
QWEN = {"context": 131_072, "untied": False}
LLAMA = {"context": 0, "untied": False}  # as many positions as the base
STUDENTS = {
  "qwen-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4, QWEN | {"untied": True}, {"fsdp": 8}),
  "qwen-7b": ("Qwen/Qwen2.5-Math-7B", 8e-5, QWEN, {"fsdp": 8, "tensor": 2}),
  "qwen-14b": ("Qwen/Qwen2.5-14B", 7e-5, QWEN, {"fsdp": 8, "tensor": 4}),
  "qwen-32b": ("Qwen/Qwen2.5-32B", 6e-5, QWEN, {"fsdp": 8, "tensor": 8}),
  "llama-8b": ("meta-llama/Llama-3.1-8B", 5e-5, LLAMA, {"fsdp": 8, "tensor": 2}),
  "llama-70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5, LLAMA, {"fsdp": 16, "tensor": 8}),
}


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, student=NAME (of paper), data=FILE, model=MODEL,
  teacher=MODEL, logits=SHARE, lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  given = {"student": "qwen-32b", "data": "", "model": "", "teacher": "", "logits": 0.0}
  a = common.parse(arg, **sizes, **given, lora=0, seed=0)
  if a.student not in STUDENTS:
    raise ValueError(f"student={a.student!r}: there are {', '.join(STUDENTS)}")
  c = common.choose(a, "configs/distill.py", tiny=tiny, smoke=smoke, paper=paper, small=small)
  if a.paper and not a.model:
    c.model = f"hf:{STUDENTS[a.student][0]}"
  return c


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: four epochs of some 2,700 conversations, 0.18M parameters."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,general,student,seed={a.seed}")
  c.data = {
    "file": a.data,
    "share": 0.1,  # held out
    "count": 2000,
    "terms": ((5, 0.5), (6, 0.5)),
    "languages": (0.7, 0.3, 0.0, 0.0),
  }
  c.distill = {"teacher": a.teacher, "logits": a.logits, "temperature": 1.0}
  c.student = {"context": 0, "untied": False}
  c.sft = {
    "seed": a.seed + 1,
    "template": "short",
    "epochs": 4,
    "steps": 0,
    "conversations": 16,
    "row_tokens": 256,
    "microbatch_tokens": 1024,
    "normalise": "token",
    "mtp_weight": 0.0,
    "overlong": "drop",
    "eval_every": 50,
    "eval_conversations": 256,
    "checkpoint_every": 50,
    "keep": 1,
    "patience": 5,
  }
  c.optimizer = common.ADAM | {
    "learning_rate": 3e-3,
    "warmup": 10,
    "final": 0.1,
    "weight_decay": 0.1,
  }
  c.experts = {"balance": 1e-4, "bias_rate": 0.001}  # of a mixture (arXiv 2412.19437)
  c.update(common.machine(a))
  return c


def smoke(a) -> dict:
  """A few updates of a model that has learned nothing: every part runs, in seconds."""
  return {
    "base": pretrain.get_config(f"smoke,general,student,seed={a.seed}"),
    "data": {"count": 64, "share": 0.2},
    "sft": {
      "epochs": 0,
      "steps": 3,
      "conversations": 8,
      "microbatch_tokens": 512,
      "eval_every": 3,
      "eval_conversations": 8,
      "checkpoint_every": 3,
    },
    "optimizer": {"warmup": 1},
  }


def small(a) -> dict:
  """A checkpoint of one's own on a teacher's conversations; sizes for one accelerator."""
  return {
    "data": {"share": common.HELD["small"]["conversations"]},
    "sft": {
      "template": "chat",
      "epochs": 2,
      "conversations": 64,
      "row_tokens": 8192,
      "microbatch_tokens": 16_384,
    },
    "optimizer": {"learning_rate": 1e-4 if a.lora else 2e-5},
    "runtime": common.ACCELERATOR,
  }


def paper(a) -> dict:
  """The paper's numbers for one student; warm-up, weight decay, clip and the mask are choices."""
  _, rate, student, mesh = STUDENTS[a.student]
  return {
    "data": {"share": common.HELD["paper"]["conversations"]},
    "student": student,
    "sft": {
      "template": "chat",
      "epochs": 2,
      "conversations": 64,
      "row_tokens": 32_768,
      "microbatch_tokens": mesh["fsdp"] * 32_768,
      "eval_every": 100,
      "checkpoint_every": 500,
      "keep": 3,
    },
    "optimizer": {"learning_rate": rate, "final": 0.1},
    "mesh": mesh,
    "runtime": common.ACCELERATOR,
  }


def sweep():
  """The student's own choices: its learning rate, its passes; and what weighs what in the loss."""
  for rate in (1e-3, 1e-2):
    yield {"optimizer.learning_rate": rate}
  yield {"sft.epochs": 2}
  yield {"sft.normalise": "response"}
