"""The version, alone in a module so that building does not import the package."""

__version__ = "0.1.0"
