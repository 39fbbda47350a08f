"""Times GRPO steps of TRL, or transformers' generate alone, on a tiny random Qwen2.

  PEER/bin/python -m experiments.peers.trl_grpo [--lengths=geometric --cap=1024]
    [--generate-only [--static-cache]]

A step: generation of all answers, log-probabilities under the reference (unless --kl=0), rewards,
one AdamW update of all rows at once, from the end of one step to the end of the next. Uneven
lengths: a logits processor leaves nothing but the end of text at the last token of an answer, and
everything else before it; the end counts as a token of the answer, here and in the loss.
"""

import functools
import os
import tempfile
import time
import warnings

from experiments.peers import work as peers
from r1.data import synthetic
from r1.train import turns

ENVIRONMENT = {
  "CUDA_VISIBLE_DEVICES": "",  # --device=cuda leaves it alone
  "HF_HUB_OFFLINE": "1",
  "TOKENIZERS_PARALLELISM": "false",
  "TRANSFORMERS_VERBOSITY": "error",
  "WANDB_MODE": "disabled",
}


def make_tokenizer(vocabulary: int, eos: int):
  """Ids written as numbers."""
  import tokenizers
  import transformers

  named = {"<pad>": peers.PAD, "<bos>": peers.BOS, "<eos>": eos}
  words = {str(i): i for i in range(vocabulary) if i not in named.values()}
  model = tokenizers.models.WordLevel(named | words, unk_token="<pad>")
  split = tokenizers.Tokenizer(model)
  split.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=split,
    pad_token="<pad>",
    bos_token="<bos>",
    eos_token="<eos>",
    padding_side="left",
  )


def make_model(given, asked, eos: int):
  """Qwen2 with these sizes and a tied table."""
  import torch
  import transformers

  cfg = transformers.Qwen2Config(
    vocab_size=given.V,
    hidden_size=given.D,
    intermediate_size=given.F,
    num_hidden_layers=given.layers,
    num_attention_heads=given.H,
    num_key_value_heads=given.N,
    max_position_embeddings=asked.prompt + asked.cap + 8,
    tie_word_embeddings=True,
    bos_token_id=peers.BOS,
    eos_token_id=eos,
    pad_token_id=peers.PAD,
    use_sliding_window=False,
    dtype=getattr(torch, given.dtype),
    attn_implementation="sdpa",
  )
  return transformers.Qwen2ForCausalLM(cfg).to(getattr(torch, given.dtype))


def forced(lengths, prompt: int):
  """The processors that end row b of a batch at its token number lengths[b]."""
  import torch
  import transformers

  last = torch.as_tensor(lengths) - 1

  class Forced(transformers.LogitsProcessor):
    def __call__(self, input_ids, scores):
      over = (input_ids.shape[1] - prompt >= last.to(scores.device))[:, None]
      ids = torch.arange(scores.shape[1], device=scores.device)[None]
      wanted = torch.where(over, ids == peers.EOS, ids >= synthetic.CONTROL)
      return scores.masked_fill(~wanted, float("-inf"))

  return transformers.LogitsProcessorList([Forced()])


def prompts(given, asked, repeat: int) -> list[str]:
  return [f"<bos> {text}" for text in peers.texts(asked, repeat, given.V)]


def time_generate(given, asked, model, tokenizer, lengths, processors):
  """(seconds, tokens counted) of generation alone."""
  import torch

  model, seconds = model.to(given.device).eval(), []
  for repeat in range(given.warmup + given.steps):
    rows = [text for text in prompts(given, asked, repeat) for _ in range(asked.group)]
    batch = tokenizer(rows, return_tensors="pt").to(given.device)
    started = turns.take(given.turns)
    with torch.inference_mode():
      out = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=int(lengths.max()),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        cache_implementation="static" if given.static_cache else None,
        logits_processor=processors,
      )
    drawn = out[:, asked.prompt :].cpu()  # waits for the device
    seconds.append(time.perf_counter() - started)
  return seconds[given.warmup :], count(drawn, tokenizer.eos_token_id)


def count(drawn, eos: int) -> int:
  """Tokens of the answers, each up to its end."""
  before = (drawn == eos).cumsum(1).roll(1, dims=1)
  before[:, 0] = 0
  return int((before == 0).sum())


def settings(given, asked, folder: str, longest: int):
  """One batch of all answers, generated and learned from once."""
  import trl

  return trl.GRPOConfig(
    output_dir=folder,
    per_device_train_batch_size=asked.answers,
    gradient_accumulation_steps=1,
    steps_per_generation=1,
    num_generations=asked.group,
    num_iterations=1,
    max_completion_length=longest,
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    beta=given.kl,
    epsilon=0.2,
    loss_type="grpo",
    learning_rate=given.lr,
    lr_scheduler_type="constant",
    optim="adamw_torch",
    max_steps=given.warmup + given.steps,
    seed=given.seed,
    shuffle_dataset=False,
    use_cpu=given.device == "cpu",
    bf16=False,
    fp16=False,
    gradient_checkpointing=False,
    cache_implementation="static" if given.static_cache else None,
    model_init_kwargs={"dtype": given.dtype, "attn_implementation": "sdpa"},
    logging_strategy="no",
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
  )


def time_steps(given, asked, model, tokenizer, lengths, processors):
  """(seconds, tokens counted) of whole steps."""
  import datasets
  import numpy as np
  import transformers
  import trl

  starts, ends, counted, total = [], [], [], given.warmup + given.steps

  class Clock(transformers.TrainerCallback):
    def on_step_begin(self, *_, **__):
      starts.append(turns.take(given.turns))

    def on_step_end(self, *_, **__):
      ends.append(time.perf_counter())

  def reward(prompts, completions, completion_ids, **_):
    counted.append(sum(map(len, completion_ids)))
    return [synthetic.even_share(ids) for ids in completion_ids]

  rows = [text for repeat in range(total) for text in prompts(given, asked, repeat)]
  with tempfile.TemporaryDirectory(prefix="trl_grpo_") as folder:  # TRL reads the reference there
    model.save_pretrained(f"{folder}/model")
    tokenizer.save_pretrained(f"{folder}/model")
    trainer = trl.GRPOTrainer(
      model=f"{folder}/model",
      reward_funcs=reward,
      args=settings(given, asked, folder, int(lengths.max())),
      train_dataset=datasets.Dataset.from_dict({"prompt": rows}),
      processing_class=tokenizer,
      callbacks=[Clock()],
    )
    if processors:
      policy = trainer.model
      policy.generate = functools.partial(policy.generate, logits_processor=processors)
    trainer.train()
  return np.subtract(ends, starts)[given.warmup :].tolist(), counted[-1]


def main() -> None:
  parser = peers.flags(__doc__)
  parser.add_argument("--generate-only", action="store_true")
  parser.add_argument("--static-cache", action="store_true")
  parser.add_argument("--device", default="cpu")
  given = parser.parse_args()
  cores, asked = peers.use_cores(given.threads), peers.asked(given)
  for name, value in ENVIRONMENT.items():
    if name != "CUDA_VISIBLE_DEVICES" or given.device == "cpu":
      os.environ.setdefault(name, value)
  warnings.filterwarnings("ignore")
  import importlib.metadata

  import torch

  torch.set_num_threads(cores)
  torch.manual_seed(given.seed)
  lengths = synthetic.lengths(asked)
  even = int(lengths.min()) == asked.cap
  eos = given.V if even else peers.EOS  # beyond the vocabulary it is never drawn
  tokenizer, model = make_tokenizer(given.V, eos), make_model(given, asked, eos)
  params = sum(p.numel() for p in model.parameters())
  processors = None if even else forced(lengths, asked.prompt)
  more = (given, asked, model, tokenizer, lengths, processors)
  if given.generate_only:
    what = "transformers generate" + (", static cache" if given.static_cache else "")
    seconds, counted = time_generate(*more)
  else:
    what, (seconds, counted) = "TRL GRPO", time_steps(*more)
  versions = {name: importlib.metadata.version(name) for name in ("trl", "torch", "transformers")}
  print(
    peers.record(
      what, given, params=params, seconds=seconds, counted=counted, cores=cores, versions=versions
    ),
    flush=True,
  )


if __name__ == "__main__":
  main()
