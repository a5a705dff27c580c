"""The version, which a source tree that is not installed has too."""

__version__ = "0.2.0"
