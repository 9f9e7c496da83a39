"""Charts: the geometry, made on the server, which `templates/chart.html` draws as SVG.

Across, places are percents of the width, so that a chart fills whatever it stands in and its words
keep their size; down, they are pixels.
"""
