"""Fetch remote files once: downloads, packages, Kaggle, the hub."""
