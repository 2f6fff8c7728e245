"""Registries over HTTP."""
