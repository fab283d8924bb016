"""Train steers and their LoRA baseline."""
