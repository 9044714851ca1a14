"""The HTTP side: it reads requests, checks and queues them, and shows jobs; it never paints and never imports torch.

Every request goes the same way: ``edge`` gives it an id and logs it, ``auth`` finds its caller, ``routing`` reads it as
its route declares, a view makes one call into a room below, and ``present`` turns rows into the answer.
"""
