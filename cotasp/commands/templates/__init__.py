"""A small component of every kind, from which `cotasp new plugin` makes a package.

In each file, the class is `Example`, and it uses public names of the library alone.
"""
