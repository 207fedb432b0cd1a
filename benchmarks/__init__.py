"""Speed of the reconstruction, compared with targets and with the limits of the hardware.

``make bench`` runs all benchmarks on the 1 mm phantom, prints tables and writes the results to
``benchmarks/results/latest.json``. ``make bench BENCH_OPTIONS="--bench-resolution 2 -k loop"`` runs
a subset of the benchmarks quickly. The other options are ``--bench-threads`` and
``--bench-patience``.

The module `cases` defines the rows of the tables. If you change a compiled loop, update the
operation counts in the module `costs`.
"""
