"""What `cotasp` can be asked to do: one module per verb, named like it.

A verb's module has two functions, and imports what is heavy only inside the second:

    add_arguments(subparsers)    adds the verb's own parser, with `add_verb`
    main(arguments)              does it; errors are raised, not printed
"""

# in the order in which `cotasp --help` lists them
VERBS = (
    "init",
    "run",
    "resume",
    "show",
    "list",
    "evaluate",
    "prompt",
    "play",
    "adapt",
    "export",
    "sweep",
    "report",
    "compare",
    "new",
    "doctor",
)
