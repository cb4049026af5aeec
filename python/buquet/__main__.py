"""``python -m buquet`` is the ``buquet`` command."""

from buquet.cli import run

if __name__ == "__main__":
    run()
