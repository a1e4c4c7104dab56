-- Outside Wireshark, what needs no Wireshark can be loaded and tested.
if not Proto then
  return { crc16 = crc16, frames_of = frames_of, track = track, utc = utc }
end

-- Fields -----------------------------------------------------------------------------------------

local orbitstream = Proto("orbitstream", "OrbitStream")

local APIDS = { [IDLE_APID] = "idle" }
for apid, kind in pairs(KINDS) do
  APIDS[apid] = kind.name
end

local F = {
  frames = ProtoField.uint32("orbitstream.frames", "Frames", base.DEC, nil, nil,
    "Frames and refused stretches in this datagram"),
  frame = ProtoField.none("orbitstream.frame", "Frame", "One frame, or one refused stretch"),
  refusal = ProtoField.string("orbitstream.refusal", "Refused", base.ASCII,
    "Why the ground station refuses this frame"),
  data = ProtoField.bytes("orbitstream.data", "Octets", base.SPACE, "Octets that are not read"),
  filling = ProtoField.bytes("orbitstream.filling", "Filling", base.SPACE, "Means nothing"),

  primary = ProtoField.none("orbitstream.primary", "Primary header", "CCSDS 133.0-B-2, 4.1.3"),
  version = ProtoField.uint16("orbitstream.version", "Packet version", base.DEC, nil, 0xE000),
  packet_type = ProtoField.uint16("orbitstream.type", "Packet type", base.DEC,
    { [0] = "telemetry", [1] = "telecommand" }, 0x1000),
  has_secondary = ProtoField.bool("orbitstream.secondary_header", "Secondary header", 16,
    { "present", "absent" }, 0x0800),
  apid = ProtoField.uint16("orbitstream.apid", "APID", base.DEC, APIDS, 0x07FF,
    "Application process identifier: the kind of packet"),
  sequence_flags = ProtoField.uint16("orbitstream.sequence.flags", "Sequence flags", base.DEC,
    { [0] = "continuation", [1] = "first", [2] = "last", [3] = "unsegmented" }, 0xC000),
  sequence_count = ProtoField.uint16("orbitstream.sequence.count", "Sequence count", base.DEC,
    nil, 0x3FFF, "Low 14 bits of the counter"),
  length = ProtoField.uint16("orbitstream.length", "Data length", base.DEC, nil, nil,
    "Octets after the primary header, less one"),

  secondary = ProtoField.none("orbitstream.secondary", "Secondary header"),
  p_field = ProtoField.uint8("orbitstream.time.p_field", "Time code", base.HEX,
    { [P_FIELD] = "CDS, epoch 1958, 16-bit day, microseconds" }),
  day = ProtoField.uint16("orbitstream.time.day", "Day", base.DEC, nil, nil,
    "Days since 1958-01-01, UTC"),
  ms = ProtoField.uint32("orbitstream.time.ms", "Millisecond of the day", base.DEC),
  us = ProtoField.uint16("orbitstream.time.us", "Microsecond of the millisecond", base.DEC),
  time = ProtoField.absolute_time("orbitstream.time", "Measured at", base.UTC),
  layout = ProtoField.uint8("orbitstream.layout", "Layout version", base.DEC),
  spacecraft = ProtoField.uint16("orbitstream.spacecraft", "Spacecraft", base.DEC),
  satellite_id = ProtoField.string("orbitstream.satellite_id", "Satellite", base.ASCII,
    "The spacecraft's name, as in the database"),
  boot_count = ProtoField.uint16("orbitstream.boot_count", "Boot count", base.DEC, nil, nil,
    "How often the spacecraft has started"),
  extension = ProtoField.uint16("orbitstream.sequence.extension", "Sequence extension", base.DEC,
    nil, nil, "High 16 bits of the counter"),
  sequence = ProtoField.uint32("orbitstream.sequence", "Sequence", base.DEC, nil, nil,
    "The full 30-bit counter of this spacecraft, APID and boot"),
  verdict = ProtoField.string("orbitstream.sequence.status", "Sequence status", base.ASCII,
    "next, gap, late, duplicate or stale, as far as this capture shows"),
  gap = ProtoField.uint32("orbitstream.sequence.gap", "Frames missing before this one", base.DEC),
  reboot = ProtoField.bool("orbitstream.reboot", "The spacecraft has started again"),

  crc = ProtoField.uint16("orbitstream.crc", "CRC", base.HEX, nil, nil, "CRC-16/IBM-3740"),
  crc_status = ProtoField.uint8("orbitstream.crc.status", "CRC status", base.DEC,
    { [0] = "Bad", [1] = "Good" }),
  crc_calculated = ProtoField.uint16("orbitstream.crc.calculated", "Calculated CRC", base.HEX),
}

local all_fields = {}

local function register(field)
  all_fields[#all_fields + 1] = field
  return field
end

for _, field in pairs(F) do
  register(field)
end

local INTEGER = {
  u8 = ProtoField.uint8,
  u16 = ProtoField.uint16,
  u32 = ProtoField.uint32,
  i16 = ProtoField.int16,
  i32 = ProtoField.int32,
}

-- A kind's own fields are kept where it is declared.
for _, kind in pairs(KINDS) do
  kind.node = register(ProtoField.none("orbitstream." .. kind.name, kind.name, kind.about))
  for _, f in ipairs(kind.fields) do
    local name = "orbitstream." .. f.name
    if f.decimals then
      f.node = register(ProtoField.double(name, f.label, nil, f.about))
    else
      local shown = f.flags and base.HEX or base.DEC
      f.node = register(INTEGER[f.raw](name, f.label, shown, f.labels, nil, f.about))
    end
    for _, flag in ipairs(f.flags or {}) do
      flag.node = register(
        ProtoField.bool("orbitstream." .. flag.name, flag.label, 8 * f.octets, nil, flag.mask))
    end
  end
end
orbitstream.fields = all_fields

-- Remarks, for Analyze > Expert Information -------------------------------------------------------

local function remark(name, text, group, severity)
  return ProtoExpert.new("orbitstream.expert." .. name, text, group, severity)
end

local CHECKSUM, MALFORMED = expert.group.CHECKSUM, expert.group.MALFORMED
local PROTOCOL, SEQUENCE = expert.group.PROTOCOL, expert.group.SEQUENCE
local ERROR, WARN = expert.severity.ERROR, expert.severity.WARN
local NOTE, CHAT = expert.severity.NOTE, expert.severity.CHAT

local X = {
  too_short = remark("too_short", "Too short for a frame", MALFORMED, ERROR),
  length_mismatch = remark("length_mismatch", "Declares more than is there", MALFORMED, ERROR),
  crc_mismatch = remark("crc_mismatch", "CRC is wrong", CHECKSUM, ERROR),
  bad_version = remark("bad_version", "Not such a packet: version, type, flags", MALFORMED, ERROR),
  bad_layout = remark("bad_layout", "Unknown layout version or size", MALFORMED, ERROR),
  unknown_apid = remark("unknown_apid", "APID is not declared", PROTOCOL, WARN),
  unknown_spacecraft = remark("unknown_spacecraft", "Spacecraft 0", PROTOCOL, WARN),
  bad_time = remark("bad_time", "Time code is not valid", PROTOCOL, WARN),
  out_of_range = remark("out_of_range", "Value makes no sense", PROTOCOL, NOTE),
  cut = remark("cut", "The capture ends within a frame", PROTOCOL, NOTE),
  gap = remark("gap", "Frames are missing", SEQUENCE, WARN),
  late = remark("late", "Frame is late", SEQUENCE, NOTE),
  duplicate = remark("duplicate", "Frame has come before", SEQUENCE, NOTE),
  stale = remark("stale", "Frame is too old to know", SEQUENCE, NOTE),
  reboot = remark("reboot", "Spacecraft has started again", SEQUENCE, CHAT),
}

local all_remarks = {}
for _, each in pairs(X) do
  all_remarks[#all_remarks + 1] = each
end
orbitstream.experts = all_remarks

-- Preferences ------------------------------------------------------------------------------------

orbitstream.prefs.ports = Pref.range("UDP ports", "10015",
  "Ports on which ground stations listen, such as 10015,10020-10029", 65535)
orbitstream.prefs.sequence = Pref.bool("Check sequence counters", true,
  "Show gaps, repeats, late frames and reboots. Switch off where one capture holds the same"
  .. " traffic from several points")
