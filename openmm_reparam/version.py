"""The version, as the installed package has it: that of the last tag (setuptools-scm)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("openmm-reparam")
except PackageNotFoundError:  # run from its source, and not installed
    __version__ = "0+unknown"
