"""Small tokenizers as checkpoints carry them: the pipelines of three families, and templates.

The vocabularies are learned here; the patterns are those of the families' own tokenizer.json.
"""

import json
import pathlib

import pytest

QWEN2 = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
DEEPSEEK_V3 = (
  r"\p{N}{1,3}",
  r"[一-龥぀-ゟ゠-ヿ]+",
  r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
  r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
PATTERNS = {"qwen2": (QWEN2,), "llama3": (LLAMA3,), "deepseek": DEEPSEEK_V3}
BAR, GAP = "\uff5c", "\u2581"
CONTROLS = {  # begin of text, end of text, padding, and what else a chat needs
  "qwen2": (None, "<|im_end|>", "<|endoftext|>", ("<|im_start|>",)),
  "llama3": (
    "<|begin_of_text|>",
    "<|eot_id|>",
    None,
    ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
  ),
  "deepseek": (
    f"<{BAR}begin{GAP}of{GAP}sentence{BAR}>",
    f"<{BAR}end{GAP}of{GAP}sentence{BAR}>",
    f"<{BAR}end{GAP}of{GAP}sentence{BAR}>",
    (f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>"),
  ),
}
FAMILIES = tuple(PATTERNS)
TEXT = """The student thinks about 12 + 345 = 357, doesn't she? We'll see: it's 1,234.5!
Let x be a number; then x² + 1 > 0.  Wait, let me check that again.
学生在想：十二加三百四十五等于多少？答案是三百五十七。我们再检查一遍。
これはテストです。数は 2024 です。
def add(a, b):
    if a is None:  # nothing to add
        return b
    return a + b\r\n
\tfor i in range(100): print(f"{i:>3} {i**2}")
\\frac{1}{2} + \\sqrt{3} \\le \\boxed{42}   <b>tags</b> & signs
🙂🚀👩‍👩‍👧 ünïcödé naïve café Straße Ελληνικά русский עברית
"""

# In the shape of Qwen2.5's: a default system message, tools, tool answers as a user's.
CHATML = """\
{%- if messages[0].role == 'system' %}{% set first = messages[0].content %}
{%- else %}{% set first = 'Be of use.' %}{% endif %}
{{- '<|im_start|>system\\n' + first }}
{%- if tools %}
    {{- '\\n\\n# Tools' }}
    {%- for tool in tools %}
        {{- '\\n' ~ tool | tojson }}
    {%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in messages %}
    {%- if message.role == 'system' and loop.first %}{% continue %}{% endif %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' ~ call.function | tojson ~ '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
# In the shape of Llama 3's: begin of text, a date, trimmed contents.
HEADERS = """\
{{- bos_token }}
{%- set date = date_string if date_string is defined else strftime_now('%d %b %Y') %}
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
        {{- raise_exception('no such role: ' + message.role) }}
    {%- endif %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {%- if loop.first and message.role == 'system' %}{{ 'Today: ' + date + '\\n\\n' }}{% endif %}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# In the shape of DeepSeek-R1's: thoughts are dropped, and the prompt opens the next.
THOUGHTS = f"""\
{{{{ bos_token }}}}
{{%- for message in messages %}}
    {{%- if message.role == 'system' %}}{{{{ message.content }}}}{{% endif %}}
    {{%- if message.role == 'user' %}}{{{{ '<{BAR}User{BAR}>' + message.content }}}}{{% endif %}}
    {{%- if message.role == 'assistant' %}}
        {{%- set said = message.content.split('</think>')[-1] %}}
        {{{{- '<{BAR}Assistant{BAR}>' + said + eos_token }}}}
    {{%- endif %}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}{{{{ '<{BAR}Assistant{BAR}><think>\\n' }}}}{{% endif %}}
"""
# ChatML that marks what the model writes.
MARKED = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
            {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
TEMPLATES = {"qwen2": CHATML, "llama3": HEADERS, "deepseek": THOUGHTS}


def pipeline(family: str, *, lines=None, vocabulary: int = 640):
  """A trained `tokenizers.Tokenizer` with the family's steps."""
  import tokenizers
  from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

  steps = [
    pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in PATTERNS[family]
  ]
  bos, eos, pad, others = CONTROLS[family]
  rust = tokenizers.Tokenizer(models.BPE(ignore_merges=family == "llama3"))
  if family == "qwen2":
    rust.normalizer = normalizers.NFC()
  rust.pre_tokenizer = pre_tokenizers.Sequence(
    [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
  )
  rust.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocabulary,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  rust.train_from_iterator([TEXT] * 4 if lines is None else lines, trainer)
  controls = dict.fromkeys(text for text in (bos, eos, pad, *others) if text)
  rust.add_special_tokens(
    [tokenizers.AddedToken(text, special=True, normalized=False) for text in controls]
  )
  rust.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in THINK])
  rust.post_processor = processors.ByteLevel(trim_offsets=False)
  if family == "llama3":
    first = processors.TemplateProcessing(
      single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, rust.token_to_id(bos))]
    )
    rust.post_processor = processors.Sequence([rust.post_processor, first])
  return rust


THINK = ("<think>", "</think>")


def settings(family: str) -> dict:
  """tokenizer_config.json of the family."""
  bos, eos, pad, _ = CONTROLS[family]
  return {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": bos,
    "eos_token": {"content": eos, "special": True, "__type": "AddedToken"},
    "pad_token": pad,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 4096,
    "chat_template": TEMPLATES[family],
  }


def write(folder: pathlib.Path, rust, **files) -> pathlib.Path:
  """A checkpoint's folder of tokenizer.json and JSON files given by name, "." written as "__"."""
  folder.mkdir(parents=True, exist_ok=True)
  rust.save(str(folder / "tokenizer.json"))
  for name, content in files.items():
    (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
  return folder


def folder(root: pathlib.Path, family: str) -> pathlib.Path:
  """The whole tokenizer of a family."""
  return write(root / family, pipeline(family), tokenizer_config=settings(family))


def reference(folder: pathlib.Path):
  """transformers' reading of a folder; the test is skipped where it is not installed."""
  transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install -e '.[parity]'"
  )
  return transformers.PreTrainedTokenizerFast.from_pretrained(folder)
