"""Lets the null GPU compute, on the CPU: generated kernels by triton's interpreter, native ones by the CPU's operators."""
