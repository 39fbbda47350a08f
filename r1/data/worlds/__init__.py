"""Generated worlds: text to pre-train on and questions to reinforce."""
