"""Work that may hang, crash or eat memory, done in processes that can be killed."""
