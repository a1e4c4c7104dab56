"""Decodes the corpus with space_packet_parser from docs/orbitstream.xtce.xml, after checking that
document against the XTCE 1.2 schema that the package carries. See corpus.py.
"""

import io
import sys
import warnings

from space_packet_parser import ccsds_generator
from space_packet_parser.xtce.definitions import XtcePacketDefinition
from space_packet_parser.xtce.validation import validate_xtce

from corpus import ROOT, Comparison, from_arguments

DOCUMENT = ROOT / "docs/orbitstream.xtce.xml"
# What the project calls a header field, and what the document calls it.
HEADERS = {
    "apid": "apid",
    "sequence_count": "sequence_count",
    "data_length": "data_length",
    "day": "time_day",
    "ms": "time_ms",
    "us": "time_us",
    "spacecraft": "spacecraft",
    "boot_count": "boot_count",
    "sequence_extension": "sequence_extension",
    "crc": "crc",
}


def check_document():
    result = validate_xtce(
        DOCUMENT, level="all", allow_schema_download=False, print_results=False,
        raise_on_error=False,
    )
    if not result or result.schema_version != "1.2":
        sys.exit(str(result))


def check_units(definition, comparison):
    """A sample of the document itself: units are there for tools that show them."""
    for name, unit in (("cpu_temp", "°C"), ("speed", "km/s"), ("q0", None), ("wheel_1", "rpm")):
        parameter = definition.parameters[name]
        comparison.equal("document", name, unit, parameter.parameter_type.unit)


def main():
    check_document()
    corpus, comparison = from_arguments(), Comparison("space_packet_parser")
    definition = XtcePacketDefinition.from_xtce(DOCUMENT)
    check_units(definition, comparison)
    # Octets that are left over are only a warning to this package.
    warnings.simplefilter("error")
    packets = [definition.parse_bytes(p) for p in ccsds_generator(io.BytesIO(corpus.octets))]
    comparison.equal("corpus", "packets", len(corpus.readings), len(packets))
    for index, (ours, theirs) in enumerate(zip(corpus.readings, packets)):
        place = f"packet {index}"
        for name, parameter in HEADERS.items():
            comparison.equal(place, name, ours[name], theirs[parameter].raw_value)
        for name, value in ours["values"].items():
            # An enumeration's value is its label; the number is behind it.
            is_label = isinstance(theirs[name], str)
            if is_label:
                comparison.equal(place, name, value, theirs[name].raw_value)
            else:
                # XTCE's calibrator multiplies; ours divides where the scale is one over a number.
                comparison.nearly_equal(place, name, value, theirs[name])
        for name, value in ours["flags"].items():
            comparison.equal(place, name, value, bool(theirs[name]))
        comparison.equal(place, "time_ms in s", ours["ms"] * 0.001, theirs["time_ms"])
    comparison.end()


if __name__ == "__main__":
    main()
