"""Sources of prompts: one module each, named after the source."""
