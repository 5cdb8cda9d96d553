"""What every room uses: errors, keyed draws, rows, statistics, paths, ranges, the machine, fetched
data sets.
"""
