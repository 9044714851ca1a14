"""The miniature: a very small model of the large ones' classes, and the code that makes it."""
