"""`snntha bench`: a training step against the step-by-step snnTorch loop, on one batch in one process.

    cases -> parity -> timing, memory, parts, floor -> tables (or JSON); sweeps repeat timing along one axis

docs/performance.md describes the method.
"""
