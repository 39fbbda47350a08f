"""Questions, generated worlds and packed batches."""
