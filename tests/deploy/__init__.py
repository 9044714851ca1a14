"""What stands beside the server to run it on many machines: the Dockerfile, compose.yaml, the manifests."""
