"""Which device hears what: topologies, protocols, compression, the network, and the messages of a
round.
"""
