"""The provider: credentials and their check."""
