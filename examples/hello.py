"""The shortest whole program: a task, a worker in the background, a result.

Run it: python examples/hello.py
"""

from buquet import Buquet

app = Buquet()  # BUQUET_URL says where the queue is; without it, .buquet/buquet.db


@app.task
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    with app.worker():
        print(greet.submit("bucket").result(timeout=60))
