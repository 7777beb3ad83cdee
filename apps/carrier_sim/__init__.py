"""The mocked host carrier: a process of its own that imports nothing of ours and that nobody imports.

It speaks invented dialects over real HTTP, keeps its own append-only ledger of what it accepted (the outside
truth that tests compare us with), misbehaves on request, and plays the real-name providers as well.
"""
