"""Every error of the reproduction: a `PaperError`, whose message names the value and the cure."""


class PaperError(Exception):
    """A file, a model, a data set or an endpoint that cannot be used as it is."""
