"""The HTTP side: thin blueprints over the ports. Reads, checks, queues and shows; it never paints and never has torch.

Every view goes the same way: who asks (``auth``), what is asked (``submission`` or a query model), one call into a
port, one view model back (``views``).
"""
