"""Continuations, sampled in blocks so that each is reproducible by itself."""
