"""Reads the corpus's primary headers with spacepackets, which finds the packets by itself. See
corpus.py.
"""

from spacepackets.ccsds import PacketId, PacketType, SpacePacketHeader, parse_space_packets
from spacepackets.ccsds.spacepacket import SequenceFlags

from corpus import Comparison, from_arguments


def main():
    corpus, comparison = from_arguments(), Comparison("spacepackets")
    apids = {reading["apid"] for reading in corpus.readings}
    ids = [PacketId(PacketType.TM, True, apid) for apid in sorted(apids)]
    found = parse_space_packets(bytearray(corpus.octets), ids)
    packets = found.tm_list
    comparison.equal("corpus", "packets", len(corpus.readings), len(packets))
    comparison.equal("corpus", "octets skipped", [], found.skipped_ranges)
    for index, (ours, packet) in enumerate(zip(corpus.readings, packets)):
        theirs, place = SpacePacketHeader.unpack(packet), f"packet {index}"
        comparison.equal(place, "version", 0, theirs.ccsds_version)
        comparison.equal(place, "type", PacketType.TM, theirs.packet_type)
        comparison.equal(place, "secondary header", True, theirs.sec_header_flag)
        comparison.equal(place, "sequence flags", SequenceFlags.UNSEGMENTED, theirs.seq_flags)
        comparison.equal(place, "apid", ours["apid"], theirs.apid)
        comparison.equal(place, "sequence_count", ours["sequence_count"], theirs.seq_count)
        comparison.equal(place, "data_length", ours["data_length"], theirs.data_len)
        comparison.equal(place, "octets", len(packet), theirs.packet_len)
    comparison.end()


if __name__ == "__main__":
    main()
