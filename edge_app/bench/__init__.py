"""The measurements behind the performance page.

Each benchmark is a module with a function `run(rounds, ...)` that measures what this application does beside
the other ways to do it, in turns within one process, and returns a `BenchResult`: ratios hold where absolute
times of a busy machine do not.
"""
