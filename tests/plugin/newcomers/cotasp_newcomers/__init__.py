"""Five methods of `cotasp` and one that it has not, by its public names alone; one file each."""
