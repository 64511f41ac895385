"""The command line: flags in, one function call, an exit code out."""
