"""`bundler.yaml` and what it names, as values."""
