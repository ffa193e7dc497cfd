"""What git knows: files, tags, ancestors, changes. Nothing here writes."""

from dataclasses import dataclass
from pathlib import Path

from release.shell import Shell


@dataclass(frozen=True)
class Repository:
    """Questions to git, each one a command that only reads."""

    shell: Shell

    def git(self, *arguments: str) -> str:
        """Ask git; its answer without the last line break."""
        return self.shell.query("git", *arguments).rstrip("\n")

    def knows(self, revision: str) -> bool:
        """Whether a commit is here under this name."""
        return self.shell.succeeds(
            "git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )

    def commit(self, revision: str) -> str:
        """Return the full hash of a commit."""
        return self.git("rev-parse", "--verify", "--end-of-options", revision + "^{commit}")

    def is_shallow(self) -> bool:
        """Whether history was cut off."""
        return self.git("rev-parse", "--is-shallow-repository") == "true"

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit lies in another's history."""
        return self.shell.succeeds("git", "merge-base", "--is-ancestor", older, newer)

    def main(self) -> str | None:
        """Name the main branch: the remote's where there is one."""
        return next((name for name in ("origin/main", "main") if self.knows(name)), None)

    def changes(self) -> list[str]:
        """List what is not committed, new files included."""
        return self.git("status", "--porcelain", "--untracked-files=all").splitlines()

    def tags(self) -> list[str]:
        """List the tags."""
        return self.git("tag", "--list").splitlines()

    def commits_since(self, tag: str | None, paths: list[str]) -> int:
        """Count the commits after a tag, or all of them, that touch some paths."""
        span = "HEAD" if tag is None else f"refs/tags/{tag}..HEAD"
        return int(self.git("rev-list", "--count", span, "--", *paths))

    def files(self, folder: str = ".") -> list[str]:
        """List the files git tracks below a folder of the root and that still exist, relative to the root."""
        names = self.git("ls-files", "-z", "--cached", "--", folder).split("\0")
        return sorted(name for name in names if name and (self.shell.root / name).exists())

    def sources(self) -> list[str]:
        """List tracked files and new ones that git does not ignore."""
        names = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        return sorted({name for name in names if name and (self.shell.root / name).is_file()})

    def export(self, revision: str, folder: str, target: Path) -> None:
        """Lay out a folder as it was at a revision, below ``target``; the working tree is left alone."""
        for name in self.git("ls-tree", "-r", "-z", "--name-only", revision, "--", folder).split("\0"):
            if name.endswith((".py", ".pyi")):
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.shell.query("git", "show", f"{revision}:{name}"), encoding="utf-8")
