"""What a mutant is."""

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A small change of the code that breaks it, which the tests ought to notice.

    Attributes:
      file: the file to change, from the root of the repository.
      old: text that occurs exactly once in it.
      new: what stands in its place.
      breaks: what is then wrong, in a phrase.
      room: paths of tests that ought to notice it, the likeliest first.
      equivalent: a proof in a sentence that no test can notice it, or None.
    """

    file: str
    old: str
    new: str
    breaks: str
    room: tuple[str, ...]
    equivalent: str | None = None

    @property
    def name(self) -> str:
        """A short name that changes with the change itself."""
        text = "\0".join((self.file, self.old, self.new))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def applied(self, source: str) -> str:
        """The changed source.

        Raises:
          ValueError: the old text does not occur exactly once.
        """
        if (count := source.count(self.old)) != 1:
            raise ValueError(
                f"the mutant {self.breaks!r} of {self.file} has an old text that occurs {count} "
                f"times, not once: bring it up to date or give it more context:\n{self.old}"
            )
        return source.replace(self.old, self.new)


def of(file: str, room: tuple[str, ...], *changes: tuple[str, ...]) -> list[Mutant]:
    """Mutants of a file that share a room: ``(old, new, breaks)``, and a proof if equivalent."""
    return [Mutant(file, old, new, breaks, room, *proof) for old, new, breaks, *proof in changes]
