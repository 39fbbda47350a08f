"""Checkpoints of Hugging Face: safetensors in and out, names, configs."""
