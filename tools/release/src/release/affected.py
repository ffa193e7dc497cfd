"""Find the packages that a change touches.

packages/X/...   the package that lives there
docs/...         none
anything else    all of them
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from release.exits import Exit, Refusal
from release.repository import Repository
from release.running import DryRun, run_app
from release.shell import Shell
from release.workspace import Workspace, find


def affected(paths: list[str], workspace: Workspace) -> list[str]:
    """Map changed paths to package names; what no rule knows touches all."""
    folders = {member.path: name for name, member in workspace.packages.items()}
    touched: set[str] = set()
    for path in paths:
        folder = "/".join(path.split("/")[:2])
        if path.startswith("docs/"):
            continue
        if folder not in folders or path == folder:
            return list(workspace.packages)
        touched.add(folders[folder])
    return [name for name in workspace.packages if name in touched]


def changed(repository: Repository, base: str | None) -> list[str]:
    """List the paths that differ from where this branch left ``base``, both names of a rename, new files too.

    Raises:
        Refusal: the base is unknown, or history was cut off before it.
    """
    base = base or repository.main()
    if base is None or not repository.knows(base):
        raise Refusal(Exit.USAGE, f"--base must be a commit of this clone, got {base!r}; fetch it, or name another")
    if not repository.shell.succeeds("git", "merge-base", base, "HEAD"):
        raise Refusal(Exit.USAGE, f"HEAD and {base!r} share no commit in this clone; fetch the whole history")
    committed = repository.git("diff", "--name-only", "--no-renames", "-z", "--merge-base", base)
    fresh = repository.git("ls-files", "-z", "--others", "--exclude-standard")
    return sorted({path for path in (committed + "\0" + fresh).split("\0") if path})


app = typer.Typer(add_completion=False)


@app.command()
def print_affected(
    base: Annotated[str | None, typer.Option(help="Compare with this commit; origin/main or main by default.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Compare with nothing: print every package.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for a workflow's matrix.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Print the packages that differ from where this branch left BASE, one a line."""
    workspace = find(Path.cwd())
    if everything:
        names = list(workspace.packages)
    else:
        names = affected(changed(Repository(Shell(workspace.root, dry_run)), base), workspace)
    print(json.dumps(names) if as_json else "\n".join(names))


def main() -> None:
    """Run the console command ``affected``."""
    run_app(app, "affected")
