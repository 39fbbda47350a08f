"""What the stages of the paper share: the loops that experiments compose."""
