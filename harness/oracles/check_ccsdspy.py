"""Decodes the corpus with ccsdspy, told the layout by the tables of docs/protocol.md alone: who
implements from that document reads the same values. See corpus.py.
"""

import io
import logging
import re

import ccsdspy
from ccsdspy.utils import split_by_apid

from corpus import ROOT, Comparison, engineering, from_arguments

DOCUMENT = ROOT / "docs/protocol.md"
PRIMARY_OCTETS = 6
CRC_OCTETS = 2
HEADERS = {
    "time_day": "day",
    "time_ms": "ms",
    "time_us": "us",
    "spacecraft": "spacecraft",
    "boot_count": "boot_count",
    "sequence_extension": "sequence_extension",
    "crc": "crc",
}
FIXED = {
    "CCSDS_VERSION_NUMBER": 0,
    "CCSDS_PACKET_TYPE": 0,
    "CCSDS_SECONDARY_FLAG": 1,
    "CCSDS_SEQUENCE_FLAG": 3,
    "time_p_field": 0x41,
    "layout_version": 1,
}


class Field:
    def __init__(self, row):
        self.offset = int(row[0])
        self.type = row[1]
        self.name = row[2].strip("`")
        self.step = float(row[3]) if len(row) > 4 and row[3] else None
        self.bits = {name: int(bit) for bit, name in re.findall(r"bit (\d+) `(\w+)`", row[-1])}
        self.size = int(self.type[1:])

    def packet_field(self):
        kind = "int" if self.type[0] == "i" else "uint"
        return ccsdspy.PacketField(
            name=self.name, data_type=kind, bit_length=self.size, bit_offset=8 * self.offset)


def rows(text):
    """The fields that a table of the document lists."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].isdigit():
            yield Field(cells)


def layouts():
    """Every kind's name, APID and fields, headers and CRC included."""
    document = DOCUMENT.read_text("utf-8")
    headers = list(rows(document.split("## Headers")[1].split("\n## ")[0]))
    for section in document.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        named = re.fullmatch(r"(\w+), APID (\d+)", title)
        body = list(rows(text)) if named else []
        if body:
            octets = int(re.search(r"(\d+) octets", text)[1])
            crc = Field([octets - CRC_OCTETS, "u16", "crc"])
            yield named[1].lower(), int(named[2]), [*headers, *body, crc]


def check_kind(name, apid, fields, octets, readings, comparison):
    packet_fields = [f.packet_field() for f in fields if f.offset >= PRIMARY_OCTETS]
    decoder = ccsdspy.FixedLength(packet_fields)
    theirs = decoder.load(octets, include_primary_header=True)
    comparison.equal(name, "packets", len(readings), len(theirs["CCSDS_APID"]))
    for index, ours in enumerate(readings):
        place = f"{name} {index}"

        def equal(what, value, column):
            comparison.equal(place, what, value, theirs[column][index].item())

        for column, value in FIXED.items():
            equal(column, value, column)
        equal("apid", apid, "CCSDS_APID")
        equal("sequence_count", ours["sequence_count"], "CCSDS_SEQUENCE_COUNT")
        equal("data_length", ours["data_length"], "CCSDS_PACKET_LENGTH")
        for column, what in HEADERS.items():
            equal(what, ours[what], column)
        seen = set()
        for field in fields:
            raw = theirs[field.name][index].item() if field.name in theirs else None
            if field.step is not None:
                seen.add(field.name)
                comparison.equal(place, field.name, ours["values"][field.name],
                                 engineering(raw, field.step))
            for flag, bit in field.bits.items():
                seen.add(flag)
                comparison.equal(place, flag, ours["flags"][flag], bool(raw >> bit & 1))
        comparison.equal(place, "fields", ours["values"].keys() | ours["flags"].keys(), seen)


def main():
    corpus, comparison = from_arguments(), Comparison("ccsdspy")
    # It would list the counts that it misses: the corpus has random ones.
    logging.disable(logging.WARNING)
    streams = split_by_apid(io.BytesIO(corpus.octets))
    kinds = set()
    for name, apid, fields in layouts():
        readings = [r for r in corpus.readings if r["kind"] == name]
        check_kind(name, apid, fields, streams[apid], readings, comparison)
        kinds.add(name)
    comparison.equal("document", "kinds", {r["kind"] for r in corpus.readings}, kinds)
    comparison.end()


if __name__ == "__main__":
    main()
