"""Text in and out of tokens: tokenizers and chat templates."""
