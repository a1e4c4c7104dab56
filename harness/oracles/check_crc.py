"""Computes the corpus's checkwords with fastcrc, on packets that dpkt finds in the capture. See
corpus.py.
"""

import dpkt
from fastcrc import crc16

from corpus import Comparison, from_arguments

LENGTH_BIAS = 7
CRC_OCTETS = 2


def payloads(path):
    with open(path, "rb") as file:
        for _, packet in dpkt.pcap.Reader(file):
            datagram = dpkt.ethernet.Ethernet(packet).data.data
            yield datagram.dport, bytes(datagram.data)


def main():
    corpus, comparison = from_arguments(), Comparison("fastcrc and dpkt")
    comparison.equal("check", "123456789", 0x29B1, crc16.ibm_3740(b"123456789"))
    octets = b""
    for port, payload in payloads(corpus.folder / "frames.pcap"):
        comparison.equal("capture", "port", 10015, port)
        octets += payload
    comparison.equal("capture", "octets", corpus.octets, octets)
    start = 0
    for index, ours in enumerate(corpus.readings):
        packet = octets[start:start + ours["data_length"] + LENGTH_BIAS]
        start += len(packet)
        covered, sent = packet[:-CRC_OCTETS], packet[-CRC_OCTETS:]
        computed = crc16.ibm_3740(covered)
        comparison.equal(f"packet {index}", "crc", ours["crc"], computed)
        comparison.equal(f"packet {index}", "crc as sent", int.from_bytes(sent), computed)
    comparison.equal("corpus", "octets read", start, len(octets))
    comparison.end()


if __name__ == "__main__":
    main()
