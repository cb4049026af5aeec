"""The command line. ``run`` is its entry point."""


def run() -> None:
    """Run the ``buquet`` command."""
    # Imported here, so that programs which only use the library never load Typer and Rich.
    from buquet.cli._app import cli  # noqa: PLC0415

    cli(prog_name="buquet")
