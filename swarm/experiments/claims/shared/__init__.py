"""What several claims share beyond their interface.

``changes`` writes conditions, ``derived`` makes metrics of others, ``densities`` holds models
against a reference family, and ``ladders`` predicts large runs from small ones.
"""
