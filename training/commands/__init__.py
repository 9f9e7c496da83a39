"""The commands of `python -m training`: what each may be given, and what it does with it.

What a command needs is imported when it runs: draining an outbox loads no torch.
"""
