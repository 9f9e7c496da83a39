"""Watching a cascade: figures of cohorts, drift, alarms with causes, alerts and their messages.

    rows         joined rows → one row per decision, one per attempt
    drift        Evidently, and nothing else imports it
    figures      cohort → named figures with intervals, or why there is none
    alarms       savings and risk, consumed in whole blocks of decision time
    rules        figures and alarms → assessments with causes, in plain words
    alerts       a row before a message; receivers of every kind, retried, given up visibly
    watching     one window of one cascade: fetch, call, store

Nothing here loads torch, reaches the services or speaks SQL.
"""
