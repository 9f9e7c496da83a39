"""What stops this benchmark, said in one message."""


class RealModelError(Exception):
    """Something that is needed is missing or is not what it should be; the message says how to mend
    it.
    """
