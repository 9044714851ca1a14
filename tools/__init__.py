"""The tools that Dify calls, and the modules that they share."""
