"""What is installed goes on working: an old plugin, an old server and an old data folder beside the new ones."""
