"""Release bundler and deploy-registry publisher for Kubernetes."""

__version__ = "0.1.0"
