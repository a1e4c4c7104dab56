"""Compares the stored rows with a capture of what was sent, decoded by ccsdspy.

The layouts below are written from docs/protocol.md by hand: nothing here comes from the program
under test. Every column of every row has to be equal, and no row may be missing or too many.

    rows_equal_pcap.py DATABASE_URL CAPTURE BOOT_COUNT
"""

import io
import sys
import warnings

import ccsdspy
import dpkt
import fastcrc
import numpy as np
import psycopg
from ccsdspy import PacketField

from corpus import engineering

SECONDARY = [
    PacketField(name="p_field", data_type="uint", bit_length=8),
    PacketField(name="day", data_type="uint", bit_length=16),
    PacketField(name="ms", data_type="uint", bit_length=32),
    PacketField(name="us", data_type="uint", bit_length=16),
    PacketField(name="layout", data_type="uint", bit_length=8),
    PacketField(name="spacecraft", data_type="uint", bit_length=16),
    PacketField(name="boot_count", data_type="uint", bit_length=16),
    PacketField(name="extension", data_type="uint", bit_length=16),
]
CRC = PacketField(name="crc", data_type="uint", bit_length=16)

# name, type, bits, scale, type of the column
HEALTH = [
    ("mode", "uint", 8, 1, np.int16),
    ("flags", "uint", 8, None, None),
    ("cpu_temp", "int", 16, 0.01, np.float32),
    ("battery_temp", "int", 16, 0.01, np.float32),
    ("panel_temp", "int", 16, 0.01, np.float32),
    ("payload_temp", "int", 16, 0.01, np.float32),
    ("battery_voltage", "uint", 16, 0.001, np.float32),
    ("bus_voltage", "uint", 16, 0.001, np.float32),
    ("battery_current", "int", 16, 0.001, np.float32),
    ("solar_current", "uint", 16, 0.001, np.float32),
    ("battery_charge", "uint", 16, 0.01, np.float32),
    ("signal_strength", "int", 16, 0.01, np.float32),
    ("cpu_load", "uint", 8, 0.5, np.float32),
    ("reserved", "uint", 8, None, None),
    ("storage_used", "uint", 32, 2.0**-10, np.float64),
    ("latitude", "int", 32, 1e-7, np.float64),
    ("longitude", "int", 32, 1e-7, np.float64),
    ("altitude", "uint", 32, 0.001, np.float64),
    ("speed", "uint", 32, 1e-6, np.float32),
]
ATTITUDE = (
    [(f"q{i}", "int", 16, 2.0**-15, np.float32) for i in range(4)]
    + [(f"rate_{axis}", "int", 16, 0.01, np.float32) for axis in "xyz"]
    + [(f"wheel_{i}", "int", 16, 1, np.float32) for i in range(1, 5)]
)
FLAGS = ["in_eclipse", "charging", "heater_on"]
CDS_TO_UNIX_DAYS = 4383


def frames(capture):
    """The frames of every datagram, by APID, each with a correct CRC."""
    by_apid = {100: bytearray(), 101: bytearray()}
    with open(capture, "rb") as file:
        for _, packet in dpkt.pcap.Reader(file):
            datagram = dpkt.ethernet.Ethernet(packet).ip.udp.data
            while datagram:
                octets = int.from_bytes(datagram[4:6], "big") + 7
                frame, datagram = datagram[:octets], datagram[octets:]
                if fastcrc.crc16.ibm_3740(bytes(frame)) != 0:
                    sys.exit(f"a frame of the capture has a wrong CRC: {frame.hex()}")
                by_apid[int.from_bytes(frame[0:2], "big") & 0x7FF] += frame
    return by_apid


def sent(octets, fields):
    """Identity and columns of each frame, as ccsdspy and numpy see them."""
    layout = [PacketField(name=n, data_type=t, bit_length=b) for n, t, b, _, _ in fields]
    packets = ccsdspy.FixedLength(SECONDARY + layout + [CRC])
    decoded = packets.load(io.BytesIO(bytes(octets)), include_primary_header=True)
    day = decoded["day"].astype(np.int64) - CDS_TO_UNIX_DAYS
    ms = day * 86_400_000 + decoded["ms"].astype(np.int64)
    count = decoded["CCSDS_SEQUENCE_COUNT"].astype(np.int64)
    columns = {
        "time": ms * 1000 + decoded["us"].astype(np.int64),
        "spacecraft": decoded["spacecraft"].astype(np.int64),
        "sequence": (decoded["extension"].astype(np.int64) << 14) + count,
        "boot_count": decoded["boot_count"].astype(np.int64),
    }
    for name, _, _, scale, column in fields:
        if column is not None:
            columns[name] = engineering(decoded[name].astype(np.float64), scale).astype(column)
        elif name == "flags":
            for bit, flag in enumerate(FLAGS):
                columns[flag] = decoded[name].astype(np.int64) >> bit & 1
    return columns


def stored(url, table, columns, boot_count):
    """The same columns of the table's rows."""
    identity = [
        "(extract(epoch from time) * 1000000)::bigint",
        "substr(satellite_id, 5)::int",
        "sequence",
        "boot_count",
    ]
    names = [name for name in columns if name not in ("time", "spacecraft", "sequence", "boot_count")]
    channels = [f"{name}::int" if name in FLAGS else name for name in names]
    query = f"SELECT {', '.join(identity + channels)} FROM {table} WHERE boot_count = {boot_count}"
    text = io.BytesIO()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy:
            for piece in copy:
                text.write(piece)
    types = [(name, values.dtype) for name, values in columns.items()]
    order = ["time", "spacecraft", "sequence", "boot_count"] + names
    text.seek(0)
    return np.loadtxt(text, delimiter=",", dtype=[(n, dict(types)[n]) for n in order], ndmin=1)


def main(url, capture, boot_count):
    warnings.filterwarnings("ignore", module="ccsdspy")
    by_apid = frames(capture)
    for table, apid, fields in [("telemetry", 100, HEALTH), ("attitude", 101, ATTITUDE)]:
        expected = sent(by_apid[apid], fields)
        rows = stored(url, table, expected, boot_count)
        count = len(expected["time"])
        if len(rows) != count:
            sys.exit(f"{table}: {count} frames were sent, {len(rows)} rows are stored")
        if count == 0:
            sys.exit(f"{table}: nothing was sent")
        sent_order = np.lexsort((expected["sequence"], expected["spacecraft"]))
        row_order = np.lexsort((rows["sequence"], rows["spacecraft"]))
        for name, values in expected.items():
            different = np.nonzero(values[sent_order] != rows[name][row_order])[0]
            if len(different):
                at = different[0]
                a, b = values[sent_order][at], rows[name][row_order][at]
                sys.exit(f"{table}.{name}: {len(different)} rows differ, the first: {a} sent, {b} stored")
        print(f"{table}: {count} rows equal in {len(expected)} columns")


if __name__ == "__main__":
    main(*sys.argv[1:])
