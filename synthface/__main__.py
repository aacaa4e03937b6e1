"""`python -m synthface` is `synthface`."""

from synthface.cli import main

if __name__ == "__main__":
    main()
