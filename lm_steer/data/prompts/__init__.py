"""Sources of prompts, a module each, named after the source."""
