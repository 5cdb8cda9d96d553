"""What several claims share beyond their interface.

``changes`` writes conditions, ``derived`` makes metrics of others, ``densities`` holds models
against a reference family, ``ladders`` predicts large runs from small ones, and ``measures`` makes
metrics of curves and of other rows.
"""
