"""Reads an exposition of `/metrics` with Prometheus' own parser, which is strict about OpenMetrics.

    check_metrics.py EXPOSITION [CLASSIC]

Further: every metric is described, is named by the conventions that `promtool check metrics` looks
for, and has no label but those that the program itself chooses. To CLASSIC it writes the same in the
older text format, which promtool reads.
"""

import sys
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

LABELS = {"le", "reason", "stage", "identity", "version", "layout_version"}
LINES = {"counter": "_total", "info": "_info"}


def faults(family):
    if not family.documentation:
        yield "has no HELP"
    if family.type == "unknown":
        yield "has no TYPE"
    if family.type != "counter" and family.name.endswith("_total"):
        yield "is no counter, for all its name"
    if family.unit not in ("", "seconds", "bytes"):
        yield f"has the unit {family.unit}"
    if not family.name.startswith(("orbitstream_", "process_")):
        yield "is not named after this program"
    if not family.samples:
        yield "has no sample"
    for sample in family.samples:
        if not LABELS.issuperset(sample.labels):
            yield f"has the labels {sample.labels}"


def classic(families):
    """A counter is described under the name of its samples there; there are no infos."""
    for family in families:
        name = family.name + LINES.get(family.type, "")
        kind = {"info": "gauge"}.get(family.type, family.type)
        yield f"# HELP {name} {family.documentation}"
        yield f"# TYPE {name} {kind}"
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            yield f"{sample.name}{{{labels}}} {sample.value}"


def main():
    families = list(text_string_to_metric_families(Path(sys.argv[1]).read_text("utf-8")))
    found = [f"{family.name} {fault}" for family in families for fault in faults(family)]
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text("\n".join(classic(families)) + "\n", "utf-8")
    for fault in found:
        print(fault)
    if found or not families:
        sys.exit(1)
    for name in sorted({sample.name for family in families for sample in family.samples}):
        print(name)


if __name__ == "__main__":
    main()
