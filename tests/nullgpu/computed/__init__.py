"""The null GPU computes, on the CPU: generated kernels by triton's interpreter, native ones by the CPU's operators."""

from tests.nullgpu.computed import jobs, kernels, operators


def install():
    """Computes from here on, for the rest of the process. Needs TRITON_INTERPRET=1."""
    jobs.install()
    kernels.install()
    operators.install()


def pytest_configure():
    """As a plugin of pytest: before any test is collected."""
    install()
