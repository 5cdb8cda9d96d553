"""What stands in the records beside the numbers of metrics: counters, times, and the learning rate.

Every run has these, whatever metrics it lists. No metric may take one of their keys.
"""

from __future__ import annotations

from swarm.simulation.metrics.column import (
    DETAILS,
    EVERYWHERE,
    PAGE,
    RECORDED,
    Column,
    Surface,
)

AXIS: tuple[Surface, ...] = ("axis", "tracker")

VALIDATION = (
    Column("validation_score", "score on the validation samples", "", "higher", PAGE),
    Column("validation_loss", "loss on the validation samples", "", "lower", PAGE),
)
"""The mean accuracy (or R²) and the mean loss of devices on the validation samples: the numbers by
which learning rates are chosen. Records have them where a best round is found by one of them."""
VALIDATION_KEYS = tuple(column.key for column in VALIDATION)

NUMBERS = (
    Column("train_loss", "training loss", "", "lower", PAGE),
    Column("awake", "devices awake", "", None, PAGE),
    Column("lr", "learning rate", "", None, PAGE),
    Column("bytes", "bytes sent a round", "", "lower", PAGE),
    Column("messages", "messages sent a round", "", "lower", PAGE),
    Column("secure_bytes", "bytes of a round that secure sums add", "", "lower", PAGE),
    Column("sums_lost", "secure sums of a round that were lost", "", "lower", PAGE, sparse=True),
    Column("lost", "messages of a round that are lost", "", "lower", PAGE, sparse=True),
    Column("late", "messages of a round that are given up as late", "", "lower", PAGE, sparse=True),
    Column("staleness", "ticks that messages are under way", "", "lower", PAGE, sparse=True),
    Column("joules_total", "energy of all devices", "J", "lower", PAGE, sparse=True),
    Column("epsilon_max", "ε of the device that has spent most", "", "lower", EVERYWHERE, "ε"),
    Column("epsilon_median", "ε of the median device", "", "lower", PAGE),
    Column("budgets_spent", "devices that have spent their privacy budget", "", None, PAGE),
    Column("noise_multiplier", "standard deviation of noise over its norm", "", None, RECORDED),
    Column("mean_drift", "drift of the mean", "", "lower", PAGE),
    Column("flops_total", "floating-point operations of learning", "", "lower", PAGE, sparse=True),
    Column("bytes_total", "bytes sent by all devices", "", "lower", AXIS),
    Column("virtual_s", "virtual time", "s", "lower", AXIS),
    Column("wall_s", "wall time", "s", "lower", AXIS, timed=True),
    Column("messages_total", "messages sent by all devices", "", "lower", RECORDED),
    Column("lost_total", "messages that were lost", "", "lower", RECORDED),
    Column("late_total", "messages that were given up as late", "", "lower", RECORDED),
    Column("secure_bytes_total", "bytes that secure sums have added", "", "lower", RECORDED),
    Column("secure_round_trips", "round trips of a round's secure sums", "", "lower", RECORDED),
    Column("secure_round_trips_total", "round trips of secure sums", "", "lower", RECORDED),
    Column("sums_lost_total", "secure sums that were lost", "", "lower", RECORDED),
    Column("staleness_s", "seconds from sending to mixing", "s", "lower", RECORDED),
    Column("unread", "messages in mailboxes", "", None, RECORDED),
    Column("local_round_mean", "rounds that devices have played, mean", "", None, RECORDED),
    Column("local_round_min", "rounds that devices have played, least", "", None, RECORDED),
    Column("local_round_max", "rounds that devices have played, most", "", None, RECORDED),
    Column("steps", "local steps of a round", "", None, RECORDED),
    Column("steps_total", "local steps of all devices", "", None, RECORDED),
    Column("seen", "samples met for the first time", "", None, RECORDED),
    Column("concept", "concept that most devices live in", "", None, RECORDED),
    *VALIDATION,
)
"""The numbers of a record, in the order in which a page offers them."""

FINAL = (
    Column("rounds", "rounds", "", None, RECORDED),
    Column("steps_per_s", "local steps a second", "", "higher", RECORDED, timed=True),
    Column("forgetting", "forgetting", "", "lower", RECORDED),
    Column("backward_transfer", "backward transfer", "", "higher", RECORDED),
)
"""The numbers that only the summary of an arm has."""

EARLIER = (
    Column(
        "own_r2_mean",
        "own-distribution R², mean",
        "",
        "higher",
        DETAILS,
        "own distribution",
    ),
)
"""Numbers that folders of earlier versions have, and no metric of today measures."""

LEADING = (
    "arm",
    "round",
    "virtual_s",
    "wall_s",
    "awake",
    "steps",
    "messages",
    "bytes",
    "messages_total",
    "bytes_total",
    "lr",
    "prequential_accuracy",
    "train_loss",
    "consensus_distance",
)
"""The keys that a line of ``metrics.jsonl`` begins with; the others follow by name."""

NAMES = "arm round recovery_rounds params_sha256 diverged early_stopping engine"
DEVICE = "device name cohort sent received joules epsilon"
RESERVED = frozenset(
    [*(column.key for column in (*NUMBERS, *FINAL)), *NAMES.split(), *DEVICE.split()]
)
"""Keys of a record, of an arm's summary and of ``devices.parquet`` that no metric may take."""
CONCEPT = "_concept_"
COHORT = "_cohort_"
"""What stands in the keys of numbers for one concept of data that drift, and for one cohort."""
RESERVED_BEGINNINGS = ("_", "wall_s_")
