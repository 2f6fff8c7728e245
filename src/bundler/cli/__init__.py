"""The commands: parse, wire, one call, print."""
