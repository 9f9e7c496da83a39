"""Watching a cascade: figures of cohorts, drift, alarms with causes, alerts and their messages.

    cohorts      joined rows → one row per decision, one per attempt
    estimates    weighted means within verdict strata, or why there is none
    figures      cohort → named figures with intervals
    drift        Evidently, and nothing else imports it
    alarms       savings and risk, consumed in whole blocks of decision time
    rules        figures and alarms → alert candidates
    causes       what moved, in plain words
    alerts       a row before a message
    deliveries   signed webhooks, retried, given up visibly
    watch        one window of one cascade: fetch, call, store

Nothing here loads torch, reaches the services or speaks SQL.
"""
