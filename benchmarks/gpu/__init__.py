"""``make bench-gpu``: what a denoising step of Qwen-Image costs on this card, by tier, with plain diffusers in turns.

The architecture is that of the 20B models; the weights are random and made on the device, since time does not depend on
them. What does depend on values is said apart: a step that the cache skips and one that it does not.
"""
