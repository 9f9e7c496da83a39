"""A cascade's report of a day, made by Evidently: the only room that knows it.

Evidently takes seconds to import, so whatever here needs it is imported when it is called.
"""
