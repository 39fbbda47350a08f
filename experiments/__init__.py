"""One file per stage of training, and the tools beside them."""
