"""What a user can mend: printed as one message, without a traceback."""


class UserError(ValueError):
    """Names the argument, its value and the remedy."""
