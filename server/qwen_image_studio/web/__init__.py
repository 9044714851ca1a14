"""The HTTP side: it reads, checks, queues and shows; it never paints and never has torch.

Every request goes the same way: it is named and logged (``edge``), its caller is known (``auth``), what it asks is read
as its route declares (``routing``), a view makes one call into a room below, and ``present`` makes the answer of rows.
"""
