"""Memory is stated before it is used."""

from __future__ import annotations

from swarm.errors import ConfigError
from swarm.experiment import Experiment
from swarm.memory import available_bytes


def require_memory(experiment: Experiment) -> None:
    """Refuse a swarm whose rows cannot fit, naming how many devices would."""
    if experiment.device.type != "cpu":
        return
    there = available_bytes()
    if there is None:
        return
    needed = experiment.resident_bytes()
    if needed > there:
        n = experiment.settings.devices
        fixed = experiment.plan.dataset.x.nbytes
        if experiment.most_links > 2:
            most = int(experiment.most_links * max(0, there - fixed) / (needed - fixed))
            raise ConfigError(
                "topology",
                experiment.exchanges.topology_name,
                f"would need at least {needed / 2**30:.1f} GiB, as {type(experiment.protocol).__name__} keeps memory for every "
                f"link and one device has {experiment.most_links:,} of them; {there / 2**30:.1f} GiB are free, enough for "
                f"about {most:,} links a device at most",
            )
        fits = max(0, int((there - fixed) // ((needed - fixed) / n)))
        raise ConfigError(
            "devices",
            n,
            f"would need at least {needed / 2**30:.1f} GiB for {experiment.layout.width:,} parameters each, and "
            f"{there / 2**30:.1f} GiB are free; at most {fits:,} devices fit",
        )
