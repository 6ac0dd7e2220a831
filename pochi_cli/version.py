"""The version, once: read by the build and by `pochi --version`."""

__version__ = "0.1.0"
