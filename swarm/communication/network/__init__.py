"""A network that fails, in virtual time: which devices are there and awake, and which messages
arrive when. All of it is a function of (seed, round).
"""
