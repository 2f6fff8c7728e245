"""`bundler status`: what runs in a target, and since when."""

from __future__ import annotations

from bundler.cli import connections, deployments, options, output
from bundler.cli.connections import ConnectionFlags


def status(
    environment: options.OnlyEnvironment = None,
    target: options.OnlyTarget = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    namespace: options.Namespace = None,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Show the current release of every target, and how the last apply ended."""
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace)
    states = connections.states(flags, environment, target)
    output.show(deployments.status_value(states), deployments.status_lines(states))
