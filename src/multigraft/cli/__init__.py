"""The command line: one file per verb, named like it, with a function `command` or a typer app `app`.

Every verb is imported to print the help, so a verb imports heavy libraries inside its function.
"""
