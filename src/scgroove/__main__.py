"""``python -m scgroove`` is the command ``scgroove``."""

from scgroove.cli import main

if __name__ == "__main__":
    main()
