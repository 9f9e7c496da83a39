"""Training: from labelled decisions to a certified, registered bundle.

Runs as a process of its own (`python -m training …`), so that nothing else of the control plane
needs torch. The steps are a room each: `rows`, `probes`, `tiers`, `certification`, `publishing`;
`pipeline.train_window` calls them in order. `extraction` reads models, `engines` let a cluster do
the work.
"""
