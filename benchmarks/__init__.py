"""Speed of the reconstruction, compared with targets and with the limits of the hardware.

``make bench`` runs all benchmarks on the 1 mm phantom, prints tables and writes them to
``benchmarks/results/latest.json``. ``make bench BENCH_OPTIONS="--bench-resolution 2 -k loop"`` runs
a part of the benchmarks quickly. The other options are ``--bench-threads`` and
``--bench-patience``.

The module `cases` lists the rows of the tables. After a change of a compiled loop, count its
operations again in the module `costs`.
"""
