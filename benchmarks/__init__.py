"""How fast the engine is, beside what was asked of it and what the hardware allows.

``make bench`` runs all of it on the 1 mm phantom, prints tables and writes them to
``benchmarks/results/latest.json``. ``make bench BENCH_OPTIONS="--bench-resolution 2 -k loop"`` is a
quick look at a part; the other options are ``--bench-threads`` and ``--bench-patience``.

A row is added in `cases`. Whoever changes a compiled loop counts its operations again in `costs`.
"""
