"""OCI image layouts: in a folder, or in a tar file."""
