"""Update rules: advantages, GRPO, and the losses beside it."""
