"""Runs the part of the Wireshark dissector that needs no Wireshark in every Lua that Wireshark has
used or may use, and compares it with this project's own parser and tracker.

    check_lua.py FOLDER

`FOLDER/datagrams.jsonl` has one datagram a line: `{"octets": hex, "items": [[octets, refusal]]}`,
where the refusal of a good frame is null. `FOLDER/tracks.jsonl` has one sequence of frames a line, as
`[stream, boot count, counter, time, verdict, missing, is_reboot]`.
"""

import datetime
import importlib
import json
import sys
from pathlib import Path

from corpus import ROOT, Comparison

DISSECTOR = ROOT / "wireshark/orbitstream.lua"
VERSIONS = ["lua51", "lua52", "lua53", "lua54", "luajit21"]
CRCS = {
    b"123456789": 0x29B1,
    b"\0\0": 0x1D0F,
    b"\0\0\0": 0xCC9C,
    b"\xab\xcd\xef\x01": 0x04A2,
    b"\x14\x56\xf8\x9a\x00\x01": 0x7FD5,
}
# Both ends, around 1970, and around the ends of February in 2000, which has a leap day, and 2100.
DAYS = [0, 4_382, 4_383, 15_398, 15_399, 15_400, 24_837, 51_922, 51_923, 51_924, 65_535]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def load(version):
    runtime = importlib.import_module(f"lupa.{version}").LuaRuntime(encoding=None)
    return runtime, runtime.execute(DISSECTOR.read_bytes())


def check(version, datagrams, tracks, comparison):
    runtime, module = load(version)

    def equal(name, ours, theirs):
        comparison.equal(version, name, ours, theirs)

    for octets, crc in CRCS.items():
        equal("crc", crc, module[b"crc16"](octets, 0, len(octets)))
    for index, datagram in enumerate(datagrams):
        frames = module[b"frames_of"](bytes.fromhex(datagram["octets"])).values()
        theirs = [
            [frame[b"octets"], frame[b"refusal"].decode() if frame[b"refusal"] else None]
            for frame in frames
        ]
        equal(f"datagram {index}", datagram["items"], theirs)
    for index, track in enumerate(tracks):
        streams = runtime.table()
        for step, (stream, boot, counter, time, *ours) in enumerate(track):
            verdict, missing, is_reboot = module[b"track"](
                streams, stream.encode(), boot, counter, time)
            equal(f"track {index}, frame {step}", ours, [verdict.decode(), missing, is_reboot])
    for day in DAYS:
        ours = datetime.datetime(1958, 1, 1) + datetime.timedelta(days=day, milliseconds=86_399_007)
        theirs = module[b"utc"](day, 86_399_007, 42)
        equal(f"day {day}", f"{ours:%Y-%m-%d %H:%M:%S}.007042", theirs.decode())
    leap = module[b"utc"](24_836, 86_400_500, 0)
    equal("leap second", "2026-01-01 00:00:00.500000", leap.decode())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, comparison = Path(sys.argv[1]), Comparison("the dissector in Lua")
    datagrams, tracks = lines(folder / "datagrams.jsonl"), lines(folder / "tracks.jsonl")
    for version in VERSIONS:
        check(version, datagrams, tracks, comparison)
    comparison.end()


if __name__ == "__main__":
    main()
