"""Every rule that a finding can have: what it says, how grave it is, and who may change that.

docs/rules.md shows this catalogue. What a project may change is advice and taste; what protects
the release or what a cluster would refuse anyway is fixed, and says what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bundler.model.project import Environment, Policy

Stage = Literal[
    "project file",
    "sources",
    "render",
    "charts",
    "layers",
    "objects",
    "encrypted",
    "publish",
    "apply",
]
"""Where a rule is checked; `objects` are the rendered ones, and what rendering made of them."""

_ALLOW = "`allow` names what may leave the namespace"
_SERVER = "an API server would refuse it, in the middle of an apply"
_PINS = "every image must be known and wanted"
_TREE = "a release is made of its tag's tree alone"
_KEY = "it could not be decrypted, or not be kept secret"
_ONCE = "it could not be applied"
_BY_HAND = "whoever applies says what is right"
_ELSEWHERE = "it is no matter of an environment"


@dataclass(frozen=True)
class Rule:
    name: str
    says: str
    """What it finds, in a line."""
    stage: Stage
    protected: Policy = "error"
    """How grave it is where the environment is protected."""
    otherwise: Policy = "error"
    fixed: str | None = None
    """Why a project may not change how grave it is; None where it may."""

    def severity(self, environment: Environment) -> Policy:
        """How grave it is in an environment."""
        default = self.protected if environment.protected else self.otherwise
        return default if self.fixed else environment.rules.get(self.name, default)


def _catalogue(*rules: Rule) -> Mapping[str, Rule]:
    return {rule.name: rule for rule in rules}


def _advice(name: str, says: str) -> Rule:
    """Told where it matters, and silent where people try things."""
    return Rule(name, says, "objects", "warning", "ignore")


def _fixed(stage: Stage, why: str, severity: Policy = "error", **rules: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(name.replace("_", "-"), says, stage, severity, severity, why)
        for name, says in rules.items()
    )


def _about_pull_secrets(word: str, says: str, severity: Policy) -> Rule:
    return Rule(
        f"{word}-pull-secret", f"a pull secret {says}", "apply", severity, severity, _BY_HAND
    )


RULES: Mapping[str, Rule] = _catalogue(
    # --- images -----------------------------------------------------------------------------
    *_fixed(
        "objects",
        _PINS,
        unpinned_image="an image that is neither a service's nor in `images.external`",
        unused_pin="a service that no object uses; list it under `without` if that is right",
        unused_image_path="a path of `crdImages` at which no object has an image",
        image_in_generated_name="an image in a ConfigMap whose name is a digest of its content",
        denied_image="a third-party image that `images.external.deny` names",
        invalid_image="an image string that is no reference",
    ),
    Rule(
        "image-without-digest",
        "an image of a protected environment that could still change",
        "objects",
        fixed="`protected: false` is what gives up digests",
    ),
    Rule(
        "mutable-tag",
        "a third-party image without a digest, where nothing is protected",
        "objects",
        "error",
        "warning",
    ),
    # --- places -----------------------------------------------------------------------------
    *_fixed(
        "objects",
        _ALLOW,
        namespace_escape="an object in a namespace that is neither the target's nor allowed",
        cluster_scoped="an object of the whole cluster whose kind is not allowed",
    ),
    *_fixed(
        "objects",
        _ONCE,
        duplicate_object="an object that stands twice in one target",
        generate_name="an object with `generateName`: each apply would make another one",
        no_object="a document that is no Kubernetes object",
        empty_render="an overlay or chart without any object",
    ),
    # --- schemas ----------------------------------------------------------------------------
    *_fixed(
        "objects",
        _SERVER,
        schema="a field that the Kubernetes version does not know, lacks or types differently",
        removed_api="an API that the Kubernetes version has not, with the versions that have it",
        unknown_kind="a kind that no known version of Kubernetes has",
        crd_schema="a CRD that contradicts itself, or whose schema is none",
    ),
    Rule(
        "deprecated-api",
        "an API that a coming version of Kubernetes removes",
        "objects",
        "warning",
        "warning",
    ),
    Rule(
        "unvalidated",
        "the number of objects for whose kinds there is no schema",
        "objects",
        "warning",
        "warning",
    ),
    # --- secrets ----------------------------------------------------------------------------
    Rule("plain-secret", "a Secret whose values stand there in clear", "objects"),
    Rule(
        "secret-in-clear",
        "what looks like a password, token or key in a ConfigMap, variable or argument",
        "objects",
        "error",
        "warning",
    ),
    _advice("placeholder-secret", "a password or token that was never filled in (`changeme`)"),
    *_fixed(
        "encrypted",
        _KEY,
        sops_changed="what rendering changes in a document whose MAC covers it",
        sops_source="an encrypted document that has no file of its own in the tag's tree",
        sops_metadata="a name or kind that is encrypted, or a copy of the secret beside it",
        sops_kind="an encrypted document that is no Secret",
        sops_generated="a Secret whose value is a text that SOPS encrypted",
    ),
    # --- running ----------------------------------------------------------------------------
    _advice("no-readiness-probe", "a container behind a Service that has no readiness probe"),
    _advice("downtime", "a workload that cannot be replaced or moved while it serves"),
    _advice("missing-requests", "a container that requests no CPU or no memory"),
    Rule(
        "selector-changed",
        "a selector that differs from the former release's, which no API server allows",
        "objects",
        fixed=_SERVER,
    ),
    Rule(
        "label-in-selector",
        "a label that changes with the version in a selector that may never change",
        "objects",
        "warning",
        "warning",
    ),
    Rule(
        "replicas-under-hpa",
        "`replicas` of a workload that an autoscaler scales: each apply would reset it",
        "objects",
        "error",
        "warning",
    ),
    # --- what is rendered -------------------------------------------------------------------
    *_fixed(
        "render",
        _TREE,
        remote_base="an overlay that takes something from elsewhere",
        leaves_the_tree="a path or link that leaves the tag's tree",
        helm_in_kustomize="an overlay that would run helm",
        plugin="an overlay that would run a program",
        missing_file="an overlay or chart that names a file which is not there",
        render="an overlay or chart that does not build",
    ),
    Rule(
        "ambiguous-scalar",
        "a plain scalar that YAML 1.1 and 1.2 read differently",
        "render",
        "warning",
        "warning",
    ),
    # --- charts -----------------------------------------------------------------------------
    *_fixed(
        "charts",
        _TREE,
        chart="a folder that is no chart, or one that cannot be installed",
        chart_too_large="a chart with more, or larger, files than helm takes",
        chart_archive="a subchart whose archive cannot be read",
        chart_dependency="a subchart that is not vendored in the version that is wanted",
        remote_schema="a schema of values that refers to something outside of its chart",
        values_schema="values that the chart's `values.schema.json` refuses",
    ),
    *_fixed("charts", _PINS, chart_pin="a chart whose values do not say where an image stands"),
    Rule(
        "nondeterministic-template",
        "a template that does not render the same each time, or asks a cluster",
        "charts",
        "error",
        "warning",
    ),
    Rule("helm-hook", "a hook of a chart that would never run, such as `pre-delete`", "charts"),
    Rule(
        "helm-hook-order",
        "a hook that helm runs before an install and after an upgrade, or the other way round",
        "charts",
        "warning",
        "warning",
    ),
    *_fixed(
        "objects",
        _ONCE,
        unknown_wave="an annotation `release-bundler/wave` or `/weight` that says none",
        keep_versions="a Deployment of which no versions can be kept, and is asked to",
    ),
    # --- layers -----------------------------------------------------------------------------
    *_fixed(
        "layers",
        "a layer that changes nothing, or half of it, is silently wrong",
        layer_conflict="a layer that says a mapping, list or value where another shape stands",
        unmatched_layer_object="a layer's object that no target with this layer has",
    ),
    Rule(
        "unused-layer",
        "a file among the layers that no target has",
        "layers",
        "warning",
        "warning",
        fixed=_ELSEWHERE,
    ),
    # --- sources and images -----------------------------------------------------------------
    *_fixed(
        "project file",
        _ELSEWHERE,
        project_file="`bundler.yaml` contradicts itself, or names what it does not have",
        invalid_yaml="text that is no YAML, or none that is accepted",
    ),
    *_fixed(
        "sources",
        _ELSEWHERE,
        path_missing="a path of `bundler.yaml` that the tag's tree has not",
        path_is_link="a path of `bundler.yaml` that is a symbolic link",
        no_submodule="a path that is declared as a submodule and is none",
        is_submodule="a submodule that is declared as paths",
        lfs_pointer="a git-LFS pointer among a service's inputs",
        ref_missing="a tag, branch or commit that a service's repository has not",
        image_missing="a service without an image of any commit with its inputs",
        external_image_missing="a third-party image that does not exist",
        platform_missing="an image without a required platform",
    ),
    Rule(
        "revision-mismatch",
        "an image whose label names another commit",
        "sources",
        fixed="`images.revisionLabel.mismatch` says how grave it is",
    ),
    *_fixed(
        "sources",
        "`images.revisionLabel.missing` says how grave it is",
        "warning",
        revision_missing="an image without a label that names its commit",
    ),
    *_fixed(
        "sources",
        _ELSEWHERE,
        "warning",
        mutable_ref="a service's repository is asked for a branch: another commit later",
        commit_unknown="a commit that a service's repository was not seen to have",
    ),
    # --- published, pulled, applied ---------------------------------------------------------
    *_fixed(
        "publish",
        "what is published stays as it is",
        version_exists="a published version that would get other content",
        size_limit="a bundle that is larger than readers take",
        file_missing="a file of a bundle that its release document names, and that is not there",
        file_unknown="a file of a bundle that its release document does not name",
        file_changed="a file of a bundle with another digest than its release document says",
        not_an_object="a document of a bundle that is no Kubernetes object",
        wrong_owner="an object of a bundle that is not marked as its target's",
    ),
    *_fixed(
        "apply",
        "a target is never changed against it",
        foreign_owner="an object that belongs to another project, environment or target",
        foreign_image="an object that is not ours and would go on running its own images",
        not_ready="an object that is not ready in time",
        failed="an object that failed for good",
        migration_barrier="a release behind a migration that is not reversible, or that will be",
        plan_outdated="a reviewed plan whose time is over",
        plan_bundle="a reviewed plan that is for another bundle",
        plan_environment="a reviewed plan that is for another environment",
        plan_image_registry="a reviewed plan with images from elsewhere",
        plan_targets="a reviewed plan with other targets",
        plan_place="a reviewed plan that is for another cluster or folder",
        plan_state_namespace="a reviewed plan that keeps its state elsewhere",
        plan_action="an object that would be done something else to than was reviewed",
        plan_object="an object that is not as it was when the plan was made",
        plan_fields="an object of which other fields would change than were reviewed",
        max_deletions="a stale object, where more are than may be deleted (`--max-deletions`)",
        delete_wanted="an object that is to be deleted (`--delete`), and that the release has",
        empty_release="a release without objects, for a target that has some",
    ),
    *_fixed(
        "apply",
        _BY_HAND,
        other_cluster="a target that was recorded on another cluster; `--cluster` goes on",
        webhook="a webhook whose address or variables are not as they have to be",
        image_not_there="an image that its registry has not",
    ),
    _about_pull_secrets("missing", "that neither the target nor the release has", "error"),
    *(
        Rule(name, says, "apply", "error", "warning", _BY_HAND)
        for name, says in (
            ("downgrade", "a release that is older than the current one; `--allow-downgrade`"),
            ("moving-reference", "a tag to apply that is no version, such as `latest`"),
        )
    ),
    *_fixed(
        "apply",
        "it is told, and no more",
        "warning",
        cluster_unknown="a cluster whose identity we may not read",
        other_content="a release that is current there with another content",
        permission_missing="a permission without which less can be told of a failure",
        unknown_name="an object that `--delete` or `--recreate` names, and that is not there",
    ),
    _about_pull_secrets("unknown", "that we may not read", "warning"),
    *_fixed(
        "apply",
        "whoever applies has to know",
        "warning",
        former_release="a former release that cannot be pulled any more",
    ),
)
"""Name → rule, in the order of docs/rules.md.

A finding may also have the code of an error (`bundler.errors`) for its rule: what could not be
asked, or what an API server answered.
"""

CHANGEABLE = tuple(rule.name for rule in RULES.values() if not rule.fixed)
