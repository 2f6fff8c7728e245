"""Git: this repository, and others."""
