"""`bundler history`: what ran in a target."""

from __future__ import annotations

from bundler.cli import connections, deployments, options, output
from bundler.cli.connections import ConnectionFlags


def history(
    environment: options.OnlyEnvironment = None,
    target: options.OnlyTarget = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    namespace: options.Namespace = None,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """List the revisions of every target, newest first: what, when, by whom, with which outcome."""
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace)
    states = connections.states(flags, environment, target)
    output.show(deployments.history_value(states), deployments.history_lines(states))
