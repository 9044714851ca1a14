"""The inference server: durable image jobs over HTTP, painted by Qwen-Image models through diffusers."""

__version__ = "0.2.0"
