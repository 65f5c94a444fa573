"""Commands that a node takes from its broker: off unless `mqtt.commands.enabled`."""
