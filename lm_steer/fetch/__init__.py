"""Files of other places, fetched once: downloads, packages, Kaggle, the hub."""
