"""`bundler role`: the least that an account needs to apply a release, as Kubernetes roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from bundler.cli import connections, options, output, preparing, wiring_targets
from bundler.cli.connections import ConnectionFlags
from bundler.deploy.role import Grant, Plurals, grant, subject, wanted_in
from bundler.errors import UsageError
from bundler.manifests import write_documents
from bundler.model.connection import Destination


def role(
    reference: options.ReferenceArgument,
    environment: options.Environment,
    target: options.Target = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            metavar="user:NAME|group:NAME|serviceaccount:NAMESPACE/NAME",
            help="Bind the roles to it; may be repeated.",
        ),
    ] = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    targets: options.TargetsFile = None,
    state_namespace: options.StateNamespace = None,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Write the roles that are enough to apply a release, and no more, for kubectl apply.

    A cluster is asked only for the names of custom kinds, where a connection is named.
    """
    bound = [_subject(text) for text in subjects or ()]
    flags = ConnectionFlags(context, kubeconfig, None, targets, state_namespace)
    bundle, destinations = preparing.chosen(
        reference, environment, target, deploy_registry, plain_http, is_agreed=True
    )
    _show(
        [
            grant(
                wanted_in(bundle, each.environment, each.target, state_namespace),
                f"bundler.{each.project}.{each.environment}.{each.target}",
                _plurals(flags, each),
                bound,
            )
            for each in destinations
        ]
    )


def _show(grants: list[Grant]) -> None:
    objects = [obj for each in grants for obj in each.objects]
    remarks = list(dict.fromkeys(remark for each in grants for remark in each.remarks))
    for remark in remarks:
        output.note(output.printable(remark))
    if output.FORMAT.get() is output.Format.text:
        output.write(write_documents(objects).decode())
    else:
        output.show_value({"objects": objects, "remarks": remarks})


def _plurals(flags: ConnectionFlags, destination: Destination) -> Plurals:
    way = connections.way_to(flags, destination.place)
    return wiring_targets.plurals(way) if way else lambda _group, _kind: None


def _subject(text: str) -> Mapping[str, str]:
    try:
        return subject(text)
    except ValueError as error:
        raise UsageError(
            str(error), hint="such as user:ci, group:deployers or serviceaccount:ci/deployer"
        ) from error
