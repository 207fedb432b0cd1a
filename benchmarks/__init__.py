"""How fast the engine is, beside what was asked of it and what the hardware allows.

`make bench` runs all of it, on the 1 mm phantom, and prints tables. What is measured, and the
figures asked for, are listed in `cases`; the operations of the compiled loops in `costs`.
"""
