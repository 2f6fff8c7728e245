"""JSON Schemas: Kubernetes', those of custom resources, and our own."""
