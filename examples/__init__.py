"""Things to try: the demo, and (later) Dify apps and notebooks."""
