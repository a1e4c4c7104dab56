"""What the checks of frames share: the corpus, and how differences are told.

A corpus is a folder with `frames.bin`, packets back to back; `frames.pcap`, the same packets in
datagrams; and `readings.jsonl`, what this project reads in each packet, one JSON object a line. Every
script is called with that folder, decodes the packets in its own way, and exits with 1 and the first
differences if it reads anything else.
"""

import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN_MAX = 10


class Corpus:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.octets = (self.folder / "frames.bin").read_bytes()
        lines = (self.folder / "readings.jsonl").read_text("utf-8").splitlines()
        self.readings = [json.loads(line) for line in lines]


class Comparison:
    def __init__(self, judge):
        self.judge = judge
        self.compared = 0
        self.differences = []

    def equal(self, place, name, ours, theirs):
        """Notes a difference. Numbers are equal or not: there is no tolerance."""
        self.compared += 1
        if ours != theirs:
            self.differences.append(f"{place}, {name}: ours {ours!r}, theirs {theirs!r}")

    def nearly_equal(self, place, name, ours, theirs):
        """Notes a difference of more than two units in the last place: those are what the product
        with a rounded scale may lie beside the quotient by a whole number."""
        is_close = abs(ours - theirs) <= 2 * math.ulp(ours)
        self.equal(place, name, ours, ours if is_close else theirs)

    def end(self):
        for difference in self.differences[:SHOWN_MAX]:
            print(difference)
        if self.differences:
            sys.exit(f"{self.judge}: {len(self.differences)} differences")
        if not self.compared:
            sys.exit(f"{self.judge}: nothing was compared")
        print(f"{self.judge}: {self.compared} values are equal")


def engineering(raw, step):
    """The value of a number of steps, as docs/protocol.md says."""
    steps = round(1 / step)
    return raw / steps if steps and 1 / steps == step else raw * step


def from_arguments():
    if len(sys.argv) != 2:
        sys.exit(f"{sys.argv[0]} FOLDER\n\n{__doc__}")
    return Corpus(sys.argv[1])
