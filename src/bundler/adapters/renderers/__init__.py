"""kustomize and helm, run as programs; what is read before they run, and kept after."""
