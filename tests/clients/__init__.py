"""Clients that people already have, called unchanged against a running server: ``make clients``."""
