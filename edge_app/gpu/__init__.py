"""The only imports of CUDA and TensorRT: context, streams, memory, engines.

Everything here imports on a machine without either; what is missing is said when it is used.
"""
