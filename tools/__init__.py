"""The tools that Dify calls, and beside them the modules they share."""
