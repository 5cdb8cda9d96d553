"""Who hears what: topologies, protocols, compression, the network, and a round's messages."""
