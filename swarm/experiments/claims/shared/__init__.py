"""What several claims share beyond their interface.

``changes`` writes conditions, ``derived`` makes further final metrics, ``densities`` holds models
against a reference family, and ``ladders`` predicts large runs from small ones.
"""
