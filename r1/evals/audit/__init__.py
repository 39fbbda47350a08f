"""Recorded cases of other graders, and what our rules say of them."""
