-- Integers in octet strings: big-endian, at offsets from 0 as docs/protocol.md counts them -------

local byte, floor, format = string.byte, math.floor, string.format

local READ = {}

function READ.u8(s, at)
  return byte(s, at + 1)
end

function READ.u16(s, at)
  local a, b = byte(s, at + 1, at + 2)
  return a * 256 + b
end

function READ.u32(s, at)
  local a, b, c, d = byte(s, at + 1, at + 4)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

function READ.i16(s, at)
  local value = READ.u16(s, at)
  return value < 32768 and value or value - 65536
end

function READ.i32(s, at)
  local value = READ.u32(s, at)
  return value < 2147483648 and value or value - 4294967296
end

-- The checkword: CRC-16/IBM-3740 -----------------------------------------------------------------

-- Exclusive or of two octets, looked up: Lua 5.1 has no operator for it, and the libraries that
-- stand in for one differ from version to version.
local XOR = {}
do
  local nibbles = {}
  for a = 0, 15 do
    for b = 0, 15 do
      local result, bit = 0, 1
      for _ = 1, 4 do
        if floor(a / bit) % 2 ~= floor(b / bit) % 2 then
          result = result + bit
        end
        bit = bit * 2
      end
      nibbles[a * 16 + b] = result
    end
  end
  for a = 0, 255 do
    local row, high, low = {}, floor(a / 16) * 16, a % 16 * 16
    for b = 0, 255 do
      row[b] = nibbles[high + floor(b / 16)] * 16 + nibbles[low + b % 16]
    end
    XOR[a] = row
  end
end

-- The remainder of each octet, as a high and a low octet.
local CRC_HIGH, CRC_LOW = {}, {}
for octet = 0, 255 do
  local high, low = octet, 0
  for _ = 1, 8 do
    local carry = high >= 128
    high, low = high * 2 % 256 + floor(low / 128), low * 2 % 256
    if carry then
      high, low = XOR[high][0x10], XOR[low][0x21]
    end
  end
  CRC_HIGH[octet], CRC_LOW[octet] = high, low
end

-- The CRC over `octets` octets of `s` from offset `from`.
local function crc16(s, from, octets)
  local high, low = 255, 255
  for at = from + 1, from + octets do
    local index = XOR[high][byte(s, at)]
    high, low = XOR[low][CRC_HIGH[index]], CRC_LOW[index]
  end
  return high * 256 + low
end

-- Frames of a datagram ---------------------------------------------------------------------------

-- The same checks in the same order as the ground station's, and the same search for the next
-- frame after a damaged one: protocol/src/door.rs says why they are as they are.

local CRC_OCTETS = 2
local LENGTH_BIAS = PRIMARY_OCTETS + 1
local FRAME_OCTETS_MIN = PRIMARY_OCTETS + CRC_OCTETS
local P_FIELD = 0x41
local MS_OF_DAY_LIMIT = 86401000
local US_OF_MS_LIMIT = 1000
local DAMAGE = { too_short = true, length_mismatch = true, crc_mismatch = true }

local function has_valid_crc(s, from, octets)
  local covered = octets - CRC_OCTETS
  return crc16(s, from, covered) == READ.u16(s, from + covered)
end

-- All checks behind the CRC, in order: the name of the refusal, or nil for a good frame.
local function refusal_of(s, from, octets)
  local identification = READ.u16(s, from)
  local apid = identification % 2048
  local flags = apid == IDLE_APID and 0 or 2048
  if identification - apid ~= flags or READ.u16(s, from + 2) < 0xC000 then
    return "bad_version"
  end
  if apid == IDLE_APID then
    return octets > IDLE_OCTETS_MAX and "bad_layout" or nil
  end
  local kind = KINDS[apid]
  if not kind then
    return "unknown_apid"
  end
  if octets ~= kind.octets or READ.u8(s, from + 15) ~= LAYOUT_VERSION then
    return "bad_layout"
  end
  if READ.u16(s, from + 16) == 0 then
    return "unknown_spacecraft"
  end
  if READ.u8(s, from + 6) ~= P_FIELD
    or READ.u32(s, from + 9) >= MS_OF_DAY_LIMIT
    or READ.u16(s, from + 13) >= US_OF_MS_LIMIT then
    return "bad_time"
  end
  return nil
end

local function is_frame_here(s, from)
  local kind = KINDS[READ.u16(s, from) % 2048]
  return kind ~= nil
    and from + kind.octets <= #s
    and READ.u16(s, from + 4) + LENGTH_BIAS == kind.octets
    and refusal_of(s, from, kind.octets) == nil
    and has_valid_crc(s, from, kind.octets)
end

-- Octets until the next telemetry frame that passes every check, or to the end.
local function distance_to_next(s, from)
  for start = from + 1, #s - FRAME_OCTETS_MIN do
    if is_frame_here(s, start) then
      return start - from
    end
  end
  return #s - from
end

-- Octets of the frame that begins here by its own length, its CRC verified; or nil and why not.
-- `credit` bounds the octets that are summed because of a length that turns out false.
local function delimit(s, from, credit)
  local left = #s - from
  if left < PRIMARY_OCTETS then
    return nil, "too_short", credit
  end
  local octets = READ.u16(s, from + 4) + LENGTH_BIAS
  if octets < FRAME_OCTETS_MIN or left < FRAME_OCTETS_MIN then
    return nil, "too_short", credit
  end
  if octets > left then
    return nil, "length_mismatch", credit
  end
  local kind = KINDS[READ.u16(s, from) % 2048]
  local is_exact = kind ~= nil and kind.octets == octets
  if not is_exact and octets > credit then
    return nil, "length_mismatch", credit
  end
  if not has_valid_crc(s, from, octets) then
    return nil, "crc_mismatch", credit - math.min(credit, octets)
  end
  return octets, nil, credit
end

-- The datagram's frames and rejected stretches, in order, each octet in exactly one of them:
-- `{ from =, octets =, refusal = name or nil }`.
local function frames_of(s)
  local items, from, credit = {}, 0, #s
  repeat
    local octets, refusal
    octets, refusal, credit = delimit(s, from, credit)
    if octets then
      refusal = refusal_of(s, from, octets)
    else
      octets = distance_to_next(s, from)
    end
    items[#items + 1] = { from = from, octets = octets, refusal = refusal }
    from = from + octets
  until from >= #s
  return items
end

-- Time -------------------------------------------------------------------------------------------

local UNIX_EPOCH_DAY = 4383

-- Days since 1958-01-01 and milliseconds of the day to seconds since 1970 and the rest in ms.
local function unix_time(day, ms)
  return (day - UNIX_EPOCH_DAY) * 86400 + floor(ms / 1000), ms % 1000
end

-- A moment as people read it. Days to dates after H. Hinnant's civil_from_days, whose years begin
-- in March so that the leap day comes last.
local function utc(day, ms, us)
  local seconds, rest = unix_time(day, ms)
  local days = floor(seconds / 86400)
  local of_day = seconds - days * 86400
  local since = days + 719468
  local era = floor(since / 146097)
  local of_era = since - era * 146097
  local year = floor(
    (of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local date = of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return format("%04d-%02d-%02d %02d:%02d:%02d.%03d%03d", year, month, date,
    floor(of_day / 3600), floor(of_day / 60) % 60, of_day % 60, rest, us)
end
