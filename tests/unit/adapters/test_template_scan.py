"""Which functions a chart's templates may run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bundler.adapters.renderers.chart_templates import nondeterminism
from bundler.adapters.renderers.helm_charts import Chart


def chart(files: dict[str, str], *below: Chart, **more: Any) -> Chart:
    content = {path: text.encode() for path, text in files.items()}
    return Chart("shop", False, "shop", "1.0.0", files=content, subcharts=below, **more)


def found(files: dict[str, str], values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """(file, line or pointer, function) of all findings."""
    of = chart(files, values=values or {})
    return [
        (f.file, f.pointer or f.line, f.message.partition(" ")[0])
        for f in nondeterminism((of,), of.values, ())
    ]


def functions(*texts: str, values: dict[str, Any] | None = None) -> list[str]:
    files = {f"templates/{number}.yaml": text for number, text in enumerate(texts)}
    return [each[2] for each in found(files, values)]


@pytest.mark.parametrize(
    "text",
    [
        "{{/* now */}}",
        "{{- /* {{ now }} */ -}}",
        '{{ "now" }}',
        "{{ `now }} randAlpha` }}",
        '{{ "a \\" now" }}',
        "now {{ .now }} {{ $.Values.now }} {{ $now }} {{ (dict).now }}",
        "{{ nowhere }} {{ knows }}",
        '{{ define "a" }}{{ now }}{{ end }}',
        '{{ define "a" }}{{ if .x }}{{ end }}{{ now }}{{ end }}',
    ],
)  # fmt: skip
def test_what_is_no_code_or_not_reached_does_not_count(text: str) -> None:
    assert functions(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ now }}",
        "{{now|date}}",
        "{{- (now) -}}",
        "{{ default (randAlphaNum 8 | lower) .x | b64enc }}{{ $x := now }}",
        "{{ if .x }}{{ else if now }}{{ end }}",
        '{{ define "a" }}{{ range .x }}{{ end }}{{ end }}{{ now }}',
        '{{ block "a" . }}{{ now }}{{ end }}',
        '{{ with .x }}{{ template "b" . }}{{ end }}{{ define "b" }}{{ now }}{{ end }}',
        "{{/* a */}}{{ now }}",
    ],
)  # fmt: skip
def test_what_may_run_is_found(text: str) -> None:
    assert "now" in functions(text)


def test_the_place_is_the_file_and_line() -> None:
    text = '{{ define "a" }}\n\n{{\n genCA "x"\n 365 }}{{ end }}\n{{ include "a" . }}'
    assert found({"templates/x.yaml": text}) == [("shop/templates/x.yaml", 4, "genCA")]


def test_templates_are_reached_over_others() -> None:
    defines = (
        '{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ uuidv4 }}{{ end }}'
        '{{ define "c" }}{{ genPrivateKey "rsa" }}{{ end }}'
    )
    assert found({"templates/_h.tpl": defines, "templates/x.yaml": '{{ include "a" . }}'}) == [
        ("shop/templates/_h.tpl", 1, "uuidv4")
    ]
    assert found({"templates/_h.tpl": defines}) == []


def test_a_circle_of_templates_ends() -> None:
    assert functions(
        '{{ define "a" }}{{ include "a" . }}{{ now }}{{ end }}{{ include "a" . }}'
    ) == ["now"]


@pytest.mark.parametrize(
    ("call", "reached"),
    [
        ("include $name .", ["now", "uuidv4"]),
        ('include (print $.x ".a") .', ["now", "uuidv4"]),
        ('include (printf "x.%s" .kind) .', ["now"]),
        ('include ( printf "z.%s" .kind ) .', []),
        ("include (ternary $a $b .x) .", ["now", "uuidv4"]),
    ],
)
def test_a_name_that_is_worked_out_may_be_any_that_fits(call: str, reached: list[str]) -> None:
    defines = '{{ define "x.a" }}{{ now }}{{ end }}{{ define "y.a" }}{{ uuidv4 }}{{ end }}'
    assert sorted(functions(defines, f"{{{{ {call} }}}}")) == reached


@pytest.mark.parametrize(
    ("call", "reached"),
    [
        ('include (print $.Template.BasePath "/config.yaml") .', []),
        ("include (print .context.Template.BasePath .path) .context", ["genCA"]),
        ('include (print $.Template.BasePath "/_file.tpl") .', ["genCA"]),
        ('include (print $.Template.BasePath "/_other.tpl") .', []),
    ],
)
def test_a_whole_file_that_is_included_has_no_other_definitions(
    call: str, reached: list[str]
) -> None:
    files = {
        "templates/_file.tpl": '{{ genCA "x" 1 }}{{ define "a" }}{{ now }}{{ end }}',
        "templates/config.yaml": '{{ define "b" }}{{ uuidv4 }}{{ end }}',
        "templates/x.yaml": f"{{{{ {call} }}}}",
    }
    assert [function for _, _, function in found(files)] == reached


HOOK = 'kind: Pod\nmetadata:\n  annotations:\n    "helm.sh/hook": {}\n{{{{ now }}}}\n'


@pytest.mark.parametrize("hook", ["test", "test-success", '"test"'])
def test_a_file_of_tests_alone_is_not_rendered_wherever_it_is(hook: str) -> None:
    text = HOOK.format(hook)
    assert functions(text) == []
    assert functions(f"{text}---\n{text}") == []
    assert functions(f"{text}---\nkind: Job\n") == ["now"]
    assert functions(HOOK.format("test,post-install")) == ["now"]


def test_partials_notes_and_tests_are_not_rendered() -> None:
    names = ("_a.yaml", "NOTES.txt", "tests/a.yaml")
    assert found({f"templates/{name}": "{{ now }}" for name in names}) == []
    assert found({"files/a.yaml": "{{ now }}", "crds/a.yaml": "{{ now }}"}) == []


def test_a_library_has_defines_only() -> None:
    text = '{{ define "lib.a" }}{{ now }}{{ end }}{{ uuidv4 }}'
    library = chart({"templates/a.yaml": text}, is_library=True)
    user = chart({"templates/x.yaml": '{{ include "lib.a" . }}'})
    messages = [f.message for f in nondeterminism((user, library), {}, ())]
    assert [message.partition(" ")[0] for message in messages] == ["now"]


def test_values_are_code_where_templates_take_them_for_some() -> None:
    values = {"a": {"b": ["x", "{{ randAlphaNum 5 }}"]}}
    assert found({"templates/x.yaml": "{{ .Values.a }}"}, values) == []
    assert found({"templates/x.yaml": "{{ tpl (first .Values.a.b) . }}"}, values) == [
        ("shop/values.yaml", "/a/b/1", "randAlphaNum")
    ]


def test_the_file_of_values_that_a_text_comes_from_is_named() -> None:
    of = chart({"templates/x.yaml": "{{ tpl .Values.a . }}"}, values={"a": "{{ now }}"})
    given = (("values/prod.yaml", {"a": "{{ uuidv4 }}"}),)
    (finding,) = nondeterminism((of,), {"a": "{{ uuidv4 }}"}, given)
    assert (finding.file, finding.pointer) == ("values/prod.yaml", "/a")


@pytest.mark.parametrize(
    ("call", "reached"),
    [
        ('tpl (.Files.Get "files/a.txt") .', ["now"]),
        ("tpl ($.Files.Get $path) $", ["now", "uuidv4"]),
        ('.Files.Get "files/a.txt"', []),
    ],
)
def test_files_are_code_where_templates_take_them_for_some(call: str, reached: list[str]) -> None:
    files = {"files/a.txt": "{{ now }}", "files/b.txt": "{{ uuidv4 }}"}
    assert (
        sorted(e[2] for e in found({**files, "templates/x.yaml": f"{{{{ {call} }}}}"})) == reached
    )


def test_what_is_said_is_that_a_cluster_and_a_network_are_not_there() -> None:
    of = chart({"templates/x.yaml": '{{ lookup "v1" "Secret" "" "" }}{{ getHostByName "a" }}'})
    assert [finding.message for finding in nondeterminism((of,), {}, ())] == [
        "lookup sees no cluster when a release is published: it is always empty",
        "getHostByName asks nobody when a release is published: it is always empty",
    ]


@pytest.mark.parametrize("part", ["{{ ", "{{/* ", '{{ "a" ', "{{ `", "{{ include ", "{{ '", '"{{'])
def test_an_odd_text_takes_no_time(part: str) -> None:
    began = time.monotonic()
    assert functions(part * 30_000) == []
    assert functions(part * 30_000 + "}}") in ([], ["now"])
    assert time.monotonic() - began < 5
