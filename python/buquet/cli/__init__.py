"""The command line. ``run`` is its entry point."""

import sys


def run() -> None:
    """Run the ``buquet`` command."""
    # Imported here, so that programs which only use the library never load Typer and Rich, and neither do workers.
    if sys.argv[1:2] == ["worker"]:
        from buquet.cli._signals import end_on_signals  # noqa: PLC0415 - see above

        end_on_signals()
        from buquet.cli import _leaving, _work  # noqa: PLC0415 - see above

        wanted = _work.read_arguments(sys.argv[2:])
        if wanted is not None:
            _leaving.leave(_work.run(wanted))
    from buquet.cli._app import cli  # noqa: PLC0415

    cli(prog_name="buquet")
