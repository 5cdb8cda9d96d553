"""What every package uses: errors, keyed random draws, rows, statistics, names, range checks, and
in ``system`` the operating system.
"""
