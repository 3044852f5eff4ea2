"""The command line: ``scgroove demo`` and ``scgroove run``.

Nothing heavy is imported before a command starts, so that ``--help`` is instant.
"""

from scgroove.cli._app import app

__all__ = ["main"]


def main() -> None:
    """Run the command line. The entry point of ``scgroove``."""
    app()
