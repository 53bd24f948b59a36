"""What setup.cfg cannot say: the compiled parts, built where there is a compiler and left out where not."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "infers.native._convolution",
            sources=["infers/native/convolution.c"],
            depends=["infers/native/convolution_kernels.h"],
            extra_compile_args=["-O3", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"],
            optional=True,
        ),
        Extension(
            "infers.native._surface",
            sources=["infers/native/surface.c"],
            extra_compile_args=["-O3", "-fno-math-errno", "-ffp-contract=off"],
            optional=True,
        ),
    ]
)
