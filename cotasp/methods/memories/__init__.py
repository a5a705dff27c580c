"""Memories, one file each; the protocol is in `cotasp.methods.memory`."""
