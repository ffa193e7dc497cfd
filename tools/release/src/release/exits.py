"""Refusals: one line on standard error, and an exit code that says which rule was broken."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; ``docs/releasing.md`` prints this table and a test compares the two."""

    FAULTS = 1
    USAGE = 2
    UNKNOWN_PACKAGE = 10
    NOT_PUBLISHED = 11
    UNKNOWN_TAG = 12
    OTHER_PACKAGE = 13
    WRONG_VERSION = 14
    CHANGELOG = 15
    DIRTY = 16
    NOT_ON_MAIN = 17
    SHALLOW = 18
    API_BREAK = 19
    ALREADY_RELEASED = 20
    TAG_ELSEWHERE = 21
    BUILDS_DIFFER = 22
    CONTENTS = 23
    METADATA = 24
    DEPENDENCIES = 25
    TYPES = 26
    TESTS = 27
    INDEX = 28
    REAL_INDEX = 29
    NO_INTERPRETER = 30
    FLOORS = 31
    COMMAND = 32


MEANINGS: dict[Exit, str] = {
    Exit.FAULTS: "`check` found faults",
    Exit.USAGE: "wrong usage; `affected`: the base is unknown",
    Exit.UNKNOWN_PACKAGE: "no member of the workspace has this name",
    Exit.NOT_PUBLISHED: "the name or tag is that of a tool, which is never published",
    Exit.UNKNOWN_TAG: "the tag is not `<dist>-v<version>`, names no package, or is not in the repository",
    Exit.OTHER_PACKAGE: "the tag names another package",
    Exit.WRONG_VERSION: "the tag's version is not the one in `pyproject.toml`",
    Exit.CHANGELOG: "the changelog is not valid, or says nothing of this version",
    Exit.DIRTY: "the working tree has changes that are not committed",
    Exit.NOT_ON_MAIN: "the commit is not an ancestor of main",
    Exit.SHALLOW: "the clone is shallow: history and tags are missing",
    Exit.API_BREAK: "the API broke, and the version or the changelog does not say so",
    Exit.ALREADY_RELEASED: "the version is tagged already, or not above the last one",
    Exit.TAG_ELSEWHERE: "the tag points at another commit",
    Exit.BUILDS_DIFFER: "two builds of the same files differ",
    Exit.CONTENTS: "the wheel or sdist does not hold what git tracks",
    Exit.METADATA: "the metadata is incomplete or not valid",
    Exit.DEPENDENCIES: "something is imported that is not declared",
    Exit.TYPES: "the installed wheel's public types are not complete",
    Exit.TESTS: "the sdist's tests fail against the installed wheel",
    Exit.INDEX: "the index took what it should refuse, or refused what it should take",
    Exit.REAL_INDEX: "a real index, outside CI",
    Exit.NO_INTERPRETER: "this Python is not installed",
    Exit.FLOORS: "what was installed is not the lowest declared version",
    Exit.COMMAND: "a command that this one calls failed or is missing",
}


class Refusal(Exception):  # noqa: N818  what is refused is no error of the program
    """A rule was broken; the message is one line: what must hold, what came, what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        """Keep the code beside the message, whose line breaks are folded away."""
        super().__init__(" ".join(message.split()))
        self.code = code
