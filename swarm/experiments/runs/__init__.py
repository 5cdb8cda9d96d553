"""One run of a scenario: its arms prepared and checked, their learning rates chosen, run, summed
up, and kept in a folder.
"""
