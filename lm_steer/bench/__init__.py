"""Benchmarks of generation, training and perplexity on this machine."""
