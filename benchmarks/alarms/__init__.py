"""How often the alarms ring while all is well, and how soon when it is not: `python -m
benchmarks.alarms`, beside rivals on the same made-up traffic. `tables` writes the page's tables.
"""
