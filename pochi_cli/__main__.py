"""`python -m pochi_cli` is `pochi`."""

from pochi_cli.app import main

if __name__ == "__main__":
    main()
