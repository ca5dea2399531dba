"""Spiking layers over all time steps: one definition (`reference`), and faster kernels that agree with it.

`backend.run_network` chooses. `cpu` holds the numba kernels, which need numpy and numba alone: nothing is imported
here, so that they can be used where PyTorch is not installed.
"""
