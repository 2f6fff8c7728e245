"""What is refused of a chart before helm sees it."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from bundler.adapters.renderers import chart_files
from bundler.adapters.renderers.chart_files import InvalidArchive, archive_files
from bundler.adapters.renderers.chart_scan import read_given, scan_chart
from bundler.model.finding import Finding

CHART = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
NEEDS = CHART + "dependencies: [{name: redis, version: ^1.0.0}]\n"
REDIS = "apiVersion: v2\nname: redis\nversion: 1.2.0\n"


def write(tree: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())


def found(tree: Path, files: dict[str, str | bytes], folder: str = "shop") -> tuple[Finding, ...]:
    write(tree, files)
    return scan_chart(tree, folder).findings


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


def packed(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = kind
            member.linkname = link
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


@pytest.mark.parametrize(
    ("folder", "hint"),
    [
        ("charts/shp", "did you mean charts/shop?"),
        ("helm/shop", "did you mean charts/shop?"),
        ("charts/shop/Chart.yaml", "did you mean charts/shop?"),
        ("elsewhere", None),
    ],
)
def test_a_chart_that_is_not_there_is_told_with_a_near_one(
    tmp_path: Path, folder: str, hint: str | None
) -> None:
    (finding,) = found(tmp_path, {"charts/shop/Chart.yaml": CHART}, folder)
    assert (finding.rule, finding.hint) == ("chart", hint)


def test_a_file_of_values_that_is_not_there_is_told_with_a_near_one(tmp_path: Path) -> None:
    write(tmp_path, {"values/prod.yaml": ""})
    hints = [f.hint for f in read_given(tmp_path, ("values/prd.yaml", "none/prod.yaml")).findings]
    assert hints == ["did you mean values/prod.yaml?", None]


# --- Chart.yaml ---------------------------------------------------------------------------------


def test_a_chart_is_read_with_its_values(tmp_path: Path) -> None:
    write(tmp_path, {"shop/Chart.yaml": CHART, "shop/values.yaml": "on: yes\n1: a\n"})
    scanned = scan_chart(tmp_path, "shop")
    assert scanned.findings == ()
    assert scanned.chart is not None
    assert (scanned.chart.name, scanned.chart.version) == ("shop", "1.0.0")
    assert scanned.chart.values == {"true": True, "1": "a"}


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "", "--post-renderer=x;", "é"])
def test_a_chart_has_a_name_that_is_no_path(tmp_path: Path, name: str) -> None:
    text = CHART.replace("shop", f'"{name}"')
    (finding,) = found(tmp_path, {"shop/Chart.yaml": text})
    assert (finding.rule, finding.pointer) == ("chart", "/name")


@pytest.mark.parametrize(
    ("before", "after", "pointer"),
    [
        ("1.0.0", "'1.0'", "/version"),
        ("1.0.0", "1.0", "/version"),
        ("v2", "v3", "/apiVersion"),
        ("name", "type: plugin\nname", "/type"),
    ],
)
def test_a_chart_says_what_charts_may_say(
    tmp_path: Path, before: str, after: str, pointer: str
) -> None:
    (finding,) = found(tmp_path, {"shop/Chart.yaml": CHART.replace(before, after)})
    assert (finding.rule, finding.file, finding.pointer) == ("chart", "shop/Chart.yaml", pointer)


@pytest.mark.parametrize("name", ["Chart.yaml", "values.yaml", "Chart.lock"])
def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    (finding,) = found(tmp_path, {"shop/Chart.yaml": CHART, f"shop/{name}": "a: b\nc: [\n"})
    assert (finding.rule, finding.file, finding.line) == ("invalid-yaml", f"shop/{name}", 3)


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    files = {"shop/Chart.yaml": CHART, "shop/values.yaml": "\n".join(lines)}
    assert rules(found(tmp_path, dict(files))) == ["invalid-yaml"]


# --- dependencies -------------------------------------------------------------------------------


@pytest.mark.requirement("B-61")
def test_a_dependency_must_be_vendored(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, {"shop/Chart.yaml": NEEDS})
    assert (finding.rule, finding.file) == ("chart-dependency", "shop/charts")
    assert finding.message == "has no chart redis"
    assert finding.hint == (
        "run `helm dependency build shop` and commit its charts/ folder: "
        "git add --force, where .gitignore has it"
    )


def test_a_dependency_may_be_a_folder_of_any_name(tmp_path: Path) -> None:
    files = {"shop/Chart.yaml": NEEDS, "shop/charts/cache/Chart.yaml": REDIS}
    assert found(tmp_path, dict(files)) == ()


def test_a_dependency_may_be_an_archive(tmp_path: Path) -> None:
    archive = packed(("redis/Chart.yaml", REDIS.encode()), ("redis/values.yaml", b"a: 1"))
    assert found(tmp_path, {"shop/Chart.yaml": NEEDS, "shop/charts/r.tgz": archive}) == ()
    chart = scan_chart(tmp_path, "shop").chart
    assert chart is not None
    assert chart.subcharts[0].values == {"a": 1}
    assert chart.subcharts[0].file("templates/x.yaml") == "shop/charts/r.tgz"


def test_a_dependency_of_an_old_chart_stands_in_requirements(tmp_path: Path) -> None:
    old = CHART.replace("v2", "v1")
    needs = "dependencies: [{name: redis, version: ^1.0.0, repository: 'file://../redis'}]"
    files = {"shop/Chart.yaml": old, "shop/requirements.yaml": needs}
    assert rules(found(tmp_path, dict(files))) == ["chart-dependency"]


def test_a_dependency_of_a_subchart_counts_too(tmp_path: Path) -> None:
    deep = REDIS + "dependencies: [{name: common, version: 1.x}]\n"
    (finding,) = found(tmp_path, {"shop/Chart.yaml": NEEDS, "shop/charts/redis/Chart.yaml": deep})
    assert (finding.file, finding.message) == ("shop/charts/redis/charts", "has no chart common")


def test_hidden_folders_and_other_files_beside_charts_are_none(tmp_path: Path) -> None:
    files = {
        "shop/Chart.yaml": CHART, "shop/charts/README.md": "", "shop/charts/_old/x.yaml": "",
        "shop/charts/redis-1.2.0.tgz.prov": "",
    }  # fmt: skip
    assert found(tmp_path, dict(files)) == ()


@pytest.mark.parametrize("alias", ["../up", "a.b", "a b"])
def test_an_alias_is_a_plain_name(tmp_path: Path, alias: str) -> None:
    needs = NEEDS.replace("^1.0.0", f"^1.0.0, alias: '{alias}'")
    files = {"shop/Chart.yaml": needs, "shop/charts/redis/Chart.yaml": REDIS}
    (finding,) = found(tmp_path, dict(files))
    assert (finding.rule, finding.pointer) == ("chart", "/dependencies/0")


# --- archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no archive", "is no archive of a chart"),
        (packed(("redis/Chart.yaml", b"x"))[:-20], "is cut off"),
        (packed(("redis/../../up", b"x")), "has the path"),
        (packed(("/etc/passwd", b"x")), "has the path"),
        (packed(("..\\up", b"x")), "has the path"),
        (packed(("C:/up/x", b"x")), "has the path"),
        (packed(("redis/a", b""), kind=tarfile.SYMTYPE, link="/etc/passwd"), "is no plain file"),
        (packed(("redis/a", b""), kind=tarfile.LNKTYPE, link="redis/b"), "is no plain file"),
        (packed(("redis/a", b""), kind=tarfile.CHRTYPE), "is no plain file"),
        (packed(("redis/a", b"1"), ("redis/a", b"2")), "stands twice"),
        (packed(("a", b"1")), "is in no folder"),
    ],
    ids=range(11),
)
def test_an_archive_that_is_none_or_leads_elsewhere_is_refused(archive: bytes, words: str) -> None:
    with pytest.raises(InvalidArchive, match=words):
        archive_files(archive)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_files, "MAX_BYTES", 1_000_000)
    with pytest.raises(InvalidArchive, match="unpacks to more than"):
        archive_files(gzip.compress(bytes(2_000_000)))


def test_a_file_that_helm_would_not_take_is_refused() -> None:
    with pytest.raises(InvalidArchive, match="more than 5242880 bytes"):
        archive_files(packed(("redis/a", bytes(chart_files.MAX_FILE_BYTES + 1))))


def test_archives_in_archives_end_somewhere(tmp_path: Path) -> None:
    inner = packed(("redis/Chart.yaml", REDIS.encode()))
    for _ in range(10):
        inner = packed(("redis/Chart.yaml", REDIS.encode()), ("redis/charts/r.tgz", inner))
    files: dict[str, str | bytes] = {"shop/Chart.yaml": CHART, "shop/charts/r.tgz": inner}
    (finding,) = found(tmp_path, files)
    assert "nested too deeply" in finding.message


def test_an_archive_that_is_refused_is_told_with_its_place(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"shop/Chart.yaml": NEEDS, "shop/charts/r.tgz": b"x"}
    findings = found(tmp_path, files)
    assert [(f.rule, f.file) for f in findings] == [
        ("chart-archive", "shop/charts/r.tgz"),
        ("chart-dependency", "shop/charts"),
    ]


# --- links --------------------------------------------------------------------------------------


def test_a_link_within_the_tree_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"shop/Chart.yaml": NEEDS, "redis/Chart.yaml": REDIS})
    (tmp_path / "shop/charts").mkdir()
    (tmp_path / "shop/charts/redis").symlink_to("../../redis")
    assert scan_chart(tmp_path, "shop").findings == ()


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("/etc/passwd", "leaves-the-tree"),
        ("../../../outside", "leaves-the-tree"),
        ("nowhere", "leaves-the-tree"),
        ("..", "leaves-the-tree"),
    ],
)
def test_a_link_that_leads_out_nowhere_or_in_a_circle_is_refused(
    tmp_path: Path, target: str, rule: str
) -> None:
    write(tmp_path / "tree", {"shop/Chart.yaml": CHART, "shop/files/a": ""})
    (tmp_path / "tree/shop/files/link").symlink_to(target)
    (finding,) = scan_chart(tmp_path / "tree", "shop").findings
    assert (finding.rule, finding.file) == (rule, "shop/files/link")


def test_what_helm_passes_over_is_not_read(tmp_path: Path) -> None:
    files = {
        "Chart.yaml": CHART, ".helmignore": "# no\nnode_modules/\n*.bak\n/values.yaml\nci/*.yaml\n",
        "node_modules/a": "", "templates/x.bak": "", "values.yaml": "a: [", "ci/a.yaml": "",
        "ci/b/a.yaml": "", "templates/.x.swp": "", "files/values.yaml": "", "node_modules.txt": "",
    }  # fmt: skip
    write(tmp_path, dict(files))
    scanned = scan_chart(tmp_path, ".")
    assert scanned.findings == ()
    assert scanned.chart is not None
    assert sorted(scanned.chart.files) == [
        ".helmignore", "Chart.yaml", "ci/b/a.yaml", "files/values.yaml", "node_modules.txt",
    ]  # fmt: skip
    assert scanned.chart.file("templates/a") == "templates/a"


def test_a_chart_beyond_all_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_files, "MAX_FILES", 2)
    files = {"shop/Chart.yaml": CHART, "shop/a": "", "shop/b": "", "shop/c": ""}
    assert rules(found(tmp_path, dict(files))) == ["chart-too-large"]


def test_a_chart_outside_of_the_tree_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"shop/Chart.yaml": CHART, "tree/a": ""})
    assert rules(scan_chart(tmp_path / "tree", "../shop").findings) == ["leaves-the-tree"]


# --- schemas and values -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "https://example.com/s.json"}',
        '{"properties": {"a": {"$ref": "file:///dev/zero"}}}',
        '{"items": [{"$ref": "other.json#/a"}]}',
        '{"$schema": "https://example.com/meta.json"}',
        '{"allOf": [{"$dynamicRef": "/etc/passwd"}]}',
        '{"a": ' * 900 + '{"$ref": "https://example.com"}' + "}" * 900,
    ],
    ids=range(6),
)
def test_a_schema_of_values_refers_to_nothing_else(tmp_path: Path, schema: str) -> None:
    files = {"shop/Chart.yaml": CHART, "shop/values.schema.json": schema}
    assert rules(found(tmp_path, dict(files))) == ["remote-schema"]


@pytest.mark.parametrize(
    "schema",
    [
        '{"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a"}',
        '{"$schema": "https://json-schema.org/draft/2020-12/schema"}',
        '{"$schema": "http://json-schema.org/schema#"}',
        '{"$id": "https://e.com/a.json", "$ref": "a.json#/x", "properties": {"$ref": {}}}',
        "no JSON: helm says so",
    ],
)
def test_a_schema_may_refer_to_itself(tmp_path: Path, schema: str) -> None:
    assert found(tmp_path, {"shop/Chart.yaml": CHART, "shop/values.schema.json": schema}) == ()


def test_files_of_values_are_read_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "x: {w: 1, z: 1}\n", "b.yaml": "x: {z: null}\n", "c.yaml": ""})
    given = read_given(tmp_path, ("a.yaml", "b.yaml", "c.yaml"))
    assert given.findings == ()
    assert given.together == {"x": {"w": 1, "z": None}}


def test_files_of_values_that_cannot_be_read_are_told_all(tmp_path: Path) -> None:
    write(tmp_path, {"tree/list.yaml": "[]\n- 1", "tree/text.yaml": "- 1\n", "out.yaml": ""})
    (tmp_path / "tree/link.yaml").symlink_to("../out.yaml")
    names = ("list.yaml", "text.yaml", "link.yaml", "none.yaml", "../out.yaml")
    assert rules(read_given(tmp_path / "tree", names).findings) == [
        "invalid-yaml", "invalid-yaml", "leaves-the-tree", "missing-file", "leaves-the-tree",
    ]  # fmt: skip
