"""A Kubernetes cluster as a target."""
