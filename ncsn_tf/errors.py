"""Mistakes that a person can put right: each is shown as one line, without a traceback."""


class UserError(Exception):
    """Something that the user or their machine must put right; a command ends with exit code 1."""


class ConfigError(UserError, ValueError):
    """A flag or setting that cannot be used; a command ends with exit code 2."""
