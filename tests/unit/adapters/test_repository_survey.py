"""What a look at a work tree finds, on real repositories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.adapters.repository_survey import survey, work_tree
from bundler.errors import SourceInvalid
from bundler.model.survey import FoundObject, ImageChange, Kustomization
from tests.git_history import git

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{image: %s}]}\n"


def repository(root: Path, files: dict[str, str]) -> Path:
    root.mkdir(exist_ok=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def kustomization(root: Path, text: str, **files: str) -> Kustomization:
    """The survey of one kustomization in `k`; the files lie beside it, `_` for `.`."""
    named = {f"k/{name.replace('_', '.')}": content for name, content in files.items()}
    found = survey(repository(root, {"k/kustomization.yaml": text, **named}))
    (only,) = (x for x in found.kustomizations if x.folder == "k")
    return only


def test_what_git_ignores_is_not_seen_and_what_is_new_is(tmp_path: Path) -> None:
    files = {".gitignore": "out/\n", "a/Dockerfile": "COPY x /\n", "out/Dockerfile": ""}
    root = repository(tmp_path, files)
    git(root, "add", ".")
    (root / "new").mkdir()
    (root / "new/Dockerfile").write_text("FROM scratch\n")
    found = survey(root)
    assert [(x.path, x.sources) for x in found.dockerfiles] == [
        ("a/Dockerfile", ("x",)),
        ("new/Dockerfile", ()),
    ]
    (root / "a/Dockerfile").unlink()
    assert [x.path for x in survey(root).dockerfiles] == ["new/Dockerfile"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository", {"k/kustomization.yaml": "resources: [../a.yaml]\n"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/Dockerfile").write_text("COPY secret /\n")
    (tmp_path / "outside/a.yaml").write_text(POD % ("p", "secret"))
    (root / "Dockerfile").symlink_to(tmp_path / "outside/Dockerfile")
    (root / "a.yaml").symlink_to(tmp_path / "outside/a.yaml")
    (root / "folder").mkdir()
    (root / "folder/Dockerfile").write_text("FROM scratch\n")
    git(root, "add", ".")
    (root / "folder/Dockerfile").unlink()
    (root / "folder").rmdir()
    (root / "folder").symlink_to(tmp_path / "outside")
    found = survey(root)
    assert not found.dockerfiles
    assert not found.kustomizations[0].objects


def test_tests_examples_and_charts_are_told_apart(tmp_path: Path) -> None:
    files = {"tests/Dockerfile": "", "chart/Chart.yaml": "", "vendor/x/Chart.yaml": ""}
    found = survey(repository(tmp_path, files))
    assert (found.left_out, found.charts) == (("tests/Dockerfile",), ("chart",))


def test_a_submodule_is_named_and_not_entered(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"Dockerfile": ""})
    git(inner, "add", ".")
    git(inner, "commit", "--quiet", "-m", "x")
    root = repository(tmp_path / "outer", {"a": ""})
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    found = survey(root)
    assert (found.submodules, found.dockerfiles) == (("sub",), ())


def test_branches_are_local_ones_and_those_of_remotes(tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin", {"a": ""})
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "x")
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    git(tmp_path / "clone", "switch", "--quiet", "-c", "topic")
    git(tmp_path / "clone", "branch", "--quiet", "-D", "main")
    found = survey(tmp_path / "clone")
    assert {"main", "topic"} <= found.branches
    assert found.branch == "topic"
    git(tmp_path / "clone", "switch", "--quiet", "--detach")
    assert survey(tmp_path / "clone").branch is None


def test_an_empty_repository_has_nothing_but_its_branch(tmp_path: Path) -> None:
    found = survey(repository(tmp_path, {}))
    assert (found.files, found.branch, found.branches) == (frozenset(), "main", frozenset({"main"}))


def test_objects_of_resources_patches_and_lists_are_read(tmp_path: Path) -> None:
    listed = "kind: List\nitems:\n- {apiVersion: x.io/v1, kind: A, metadata: {name: l}}\n"
    found = kustomization(
        tmp_path,
        "namespace: shop\nresources: [a.yaml, b.yaml]\npatches: [{path: c.yaml}]\n",
        a_yaml=POD % ("a", "cart:1") + "---\n" + listed,
        b_yaml="kind: Rollout\nmetadata: {name: b}\nspec: {t: {initContainers: [{image: i}]}}\n",
        c_yaml=POD % ("a", "cart:2"),
    )
    assert found.namespace == "shop"
    assert found.objects == (
        FoundObject("", "Pod", "a", ("cart:1",)),
        FoundObject("x.io", "A", "l"),
        FoundObject("", "Rollout", "b", ("i",)),
        FoundObject("", "Pod", "a", ("cart:2",)),
    )


def test_deletions_and_image_changes_are_read(tmp_path: Path) -> None:
    inline = '{patch: "$patch: delete\\nkind: Pod\\nmetadata: {name: a}\\n"}'
    found = kustomization(
        tmp_path,
        f"kind: Component\npatches: [{inline}]\npatchesStrategicMerge: [b.yaml]\n"
        "images: [{name: cart, newName: r.example.com/cart, newTag: 1}, {newTag: x}]\n",
        b_yaml="$patch: delete\nkind: Job\nmetadata: {name: b}\n",
    )
    assert found.is_component
    assert found.removed == {("Pod", "a"), ("Job", "b")}
    assert found.images == (ImageChange("cart", "r.example.com/cart", "1"),)


def test_references_between_kustomizations_are_followed_even_aside(tmp_path: Path) -> None:
    files = {
        "overlays/prod/kustomization.yml": "resources: [../../examples/base, https://e.com/x]\n",
        "examples/base/Kustomization": "components: [../part]\nhelmCharts: []\n",
        "examples/part/kustomization.yaml": "kind: Component\n",
        "examples/other/kustomization.yaml": "",
    }
    found = {x.folder: x for x in survey(repository(tmp_path, files)).kustomizations}
    assert sorted(found) == ["examples/base", "examples/part", "overlays/prod"]
    assert found["overlays/prod"].resources == ("examples/base",)
    assert found["overlays/prod"].refused == ("https://e.com/x",)
    assert found["examples/base"].refused == ("a helm chart in a kustomization",)


@pytest.mark.parametrize(
    "text",
    [
        "resources: 3\nimages: [x, {name: 1}]\npatches: [x, {path: 1}, {patch: 2}]\n",
        "resources: {a: b}\nimages: 3\npatches: 3\nnamespace: [x]\nkind: 3\n",
        "- a\n",
        "",
    ],
)
def test_a_kustomization_of_another_shape_is_an_empty_one(tmp_path: Path, text: str) -> None:
    found = kustomization(tmp_path, text)
    assert found == Kustomization("k")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = {"k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": "a: [\n"}
    root = repository(tmp_path, {**files, "l/kustomization.yaml": "a: b: c"})
    os.mkfifo(root / "fifo")
    assert survey(root).unreadable == ("k/a.yaml", "l/kustomization.yaml")


def test_a_place_without_files_of_git_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceInvalid, match="not in a git repository"):
        work_tree(tmp_path)
    git(tmp_path, "init", "--quiet", "--bare", "bare")
    with pytest.raises(SourceInvalid, match="has no work tree"):
        work_tree(tmp_path / "bare")
    root = repository(tmp_path / "repository", {"a/b": ""})
    assert work_tree(root / "a") == root
