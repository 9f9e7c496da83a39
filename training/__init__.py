"""Training: from labelled decisions to a certified, registered bundle.

Runs as a process of its own (`python -m training …`), so that nothing else of the control plane
needs torch. The steps are a module each: extraction, dataset, splits, fit, calibrate, ood, certify,
publish; `pipeline.train_window` calls them in order.
"""
