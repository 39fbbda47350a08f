"""Packaging of r1; the settings of the tools live in pyproject.toml."""

import pathlib

import setuptools

REQUIRES = [
  "absl-py>=2.1",
  "array_record>=0.8",
  "flax>=0.12",
  "importlib_resources>=6.4",
  "jax>=0.10,<0.13",
  "jinja2>=3.1.6",
  "math-verify[antlr4_13_2]==0.9.0",  # its verdicts are part of the results
  "matplotlib>=3.9",
  "ml-collections>=1.1",
  "numpy>=2.0",
  "optax>=0.2.8",
  "orbax-checkpoint>=0.12",
  "py3langid>=0.4,<0.5",
  "rich>=13.9",
  "sentencepiece>=0.2.1",
  "sympy>=1.13",
  "tensorboardX>=2.6.4",
  "tensorflow-datasets>=4.9.10",
  "tokenizers>=0.21",
]

EXTRAS = {
  "hub": ["huggingface_hub>=0.30"],
  "tpu": ["jax[tpu]>=0.10,<0.13"],
  "cuda": ["jax[cuda13]>=0.10,<0.13"],
  "test": [
    "hypothesis>=6.100",
    "pre-commit>=4.0",
    "pyright>=1.1.400",
    "pytest>=8.4",
    "pytest-xdist>=3.6",
    "ruff>=0.12",
  ],
  "parity": ["peft>=0.17", "safetensors>=0.5", "torch>=2.6", "transformers>=5.0"],
}

setuptools.setup(
  name="r1",
  version="0.1.0",
  description="DeepSeek-R1 in JAX: one code from two CPU cores to a TPU pod.",
  long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=setuptools.find_packages(
    include=["r1", "r1.*", "experiments", "experiments.*", "configs", "configs.*"]
  ),
  install_requires=REQUIRES,
  extras_require=EXTRAS,
)
