"""The floor that people and programs talk to: settings, HTTP API, pages, command line, scheduler
and jobs.
"""
