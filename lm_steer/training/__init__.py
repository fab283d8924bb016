"""Steers and their LoRA baseline, trained."""
