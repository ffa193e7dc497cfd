def test_each_package_stands_on_a_line(run):
    lines = run("release", "list").out.splitlines()
    assert [line.split() for line in lines] == [
        ["dist", "version", "last", "tag", "commits", "since"],
        ["alpha", "0.2.0", "-", "1"],
        ["alpha-beta", "1.1.0", "-", "1"],
    ]


def test_only_commits_that_touch_what_is_shipped_wait(tree, run):
    tree.git("tag", "alpha-v0.2.0")
    for path in ("packages/alpha/tests/new.py", "docs/new.md", "packages/alpha-beta/src/alphabeta/new.py"):
        tree.write(path, "")
        tree.commit()
    assert run("release", "list").out.splitlines()[1].split() == ["alpha", "0.2.0", "alpha-v0.2.0", "0"]
    tree.write("packages/alpha/src/alpha/new.py", "")
    tree.commit()
    assert run("release", "list").out.splitlines()[1].split()[-1] == "1"
    assert run("release", "list").out.splitlines()[2].split()[-1] == "2"
