"""`python -m fasttrain` is the command `fasttrain`."""

from fasttrain.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
