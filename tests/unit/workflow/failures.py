"""Exceptions of the tests' steps, of the kinds that are hard to store."""

from __future__ import annotations


class CustomError(Exception):
    """Its arguments are not those it was made with."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ResponseError(Exception):
    """It holds what no JSON can."""

    def __init__(self, message: str, *, request: object, response: object) -> None:
        super().__init__(message)
        self.request = request
        self.response = response


class ShownError(Exception):
    """Its text is made of what is lost."""

    def __init__(self, thing: object) -> None:
        super().__init__()
        self.thing = thing

    def __str__(self) -> str:
        return f"about {self.thing!r}"


class Stop(StopIteration):
    """It cannot be raised into a coroutine."""


def custom() -> None:
    raise CustomError(404, detail="no such thing")


def response() -> None:
    raise ResponseError("503 from the bank", request=object(), response=object())


def shown() -> None:
    raise ShownError(object())


def local() -> None:
    class LocalError(Exception):
        pass

    give(LocalError("of a function"))


def give(error: Exception) -> None:
    raise error


def chained() -> None:
    try:
        try:
            give(KeyError("deep"))
        except KeyError as error:
            raise CustomError(1, detail="middle") from error
    except CustomError as error:
        raise ValueError("top") from error


def grouped() -> None:
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [CustomError(2, detail="two")])])


def system() -> None:
    raise OSError(2, "No such file", "/nowhere")


def exits() -> None:
    raise SystemExit(3)


def stops() -> None:
    raise Stop("enough")


def numbered() -> None:
    raise ValueError(1, 2.5, "three", None)


def noted() -> None:
    error = ValueError("see the note")
    error.add_note("a note")
    raise error


def undecodable() -> None:
    b"\xff".decode()
