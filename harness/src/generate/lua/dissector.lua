-- The tree ---------------------------------------------------------------------------------------

local function satellite_id(spacecraft)
  return format("SAT-%02d", spacecraft)
end

local function add_primary(tree, tvb, s, from)
  local node = tree:add(F.primary, tvb(from, PRIMARY_OCTETS))
  local identification, sequence = tvb(from, 2), tvb(from + 2, 2)
  node:add(F.version, identification)
  node:add(F.packet_type, identification)
  node:add(F.has_secondary, identification)
  node:add(F.apid, identification)
  node:add(F.sequence_flags, sequence)
  node:add(F.sequence_count, sequence)
  node:add(F.length, tvb(from + 4, 2))
    :append_text(format(" (frame of %d octets)", READ.u16(s, from + 4) + LENGTH_BIAS))
end

local function add_secondary(tree, tvb, s, from, head)
  local node = tree:add(F.secondary, tvb(from + PRIMARY_OCTETS, HEADER_OCTETS - PRIMARY_OCTETS))
  node:add(F.p_field, tvb(from + 6, 1))
  node:add(F.day, tvb(from + 7, 2))
  node:add(F.ms, tvb(from + 9, 4))
  node:add(F.us, tvb(from + 13, 2))
  local seconds, rest = unix_time(head.day, head.ms)
  node:add(F.time, tvb(from + 6, 9), NSTime.new(seconds, rest * 1000000 + head.us * 1000))
    :set_generated()
  node:add(F.layout, tvb(from + 15, 1))
  node:add(F.spacecraft, tvb(from + 16, 2))
  node:add(F.satellite_id, tvb(from + 16, 2), satellite_id(head.spacecraft)):set_generated()
  node:add(F.boot_count, tvb(from + 18, 2))
  node:add(F.extension, tvb(from + 20, 2))
  node:add(F.sequence, tvb(from + 20, 2), head.sequence):set_generated()
end

-- The value in engineering units. Where a whole number of steps makes one unit, the quotient is the
-- float nearest to the decimal.
local function engineering(f, raw)
  return f.steps and raw / f.steps or raw * f.scale
end

-- Remarks on a value of a good frame that makes no sense.
local function check_range(item, f, raw)
  if f.labels then
    if not f.labels[raw] then
      item:add_proto_expert_info(X.out_of_range, f.label .. " has no such value")
    end
  elseif f.low then
    local value = engineering(f, raw)
    if value < f.low or value > f.high then
      item:add_proto_expert_info(X.out_of_range, f.label .. " is out of its range")
    end
  end
end

local function add_quantity(node, range, f, raw)
  local value = engineering(f, raw)
  local text = format("%s: %." .. f.decimals .. "f", f.label, value)
  local item = node:add(f.node, range, value)
  item:set_text(f.unit == "" and text or text .. " " .. f.unit)
  return item
end

local function add_body(tree, tvb, s, from, kind, is_good)
  local start = from + HEADER_OCTETS
  local node = tree:add(kind.node, tvb(start, kind.octets - HEADER_OCTETS - CRC_OCTETS))
  node:set_text(kind.about)
  for _, f in ipairs(kind.fields) do
    local range, raw = tvb(start + f.at, f.octets), READ[f.raw](s, start + f.at)
    local item = f.decimals and add_quantity(node, range, f, raw) or node:add(f.node, range)
    if is_good then
      check_range(item, f, raw)
    end
    for _, flag in ipairs(f.flags or {}) do
      item:add(flag.node, range)
    end
  end
end

local function add_crc(tree, tvb, s, from, octets, is_good)
  local range = tvb(from + octets - CRC_OCTETS, CRC_OCTETS)
  local item = tree:add(F.crc, range)
  tree:add(F.crc_status, range, is_good and 1 or 0):set_generated()
  if is_good then
    item:append_text(" [correct]")
  else
    local calculated = crc16(s, from, octets - CRC_OCTETS)
    item:append_text(format(" [wrong, should be 0x%04x]", calculated))
    tree:add(F.crc_calculated, range, calculated):set_generated()
  end
end

local function add_sequence(tree, tvb, from, judged)
  local range = tvb(from + 20, 2)
  tree:add(F.verdict, range, judged.verdict):set_generated()
  if judged.missing > 0 then
    tree:add(F.gap, range, judged.missing):set_generated()
  end
  if judged.is_reboot then
    tree:add(F.reboot, tvb(from + 18, 2), true):set_generated()
  end
end

-- What a telemetry frame's headers say; nil where they are not all there or make no sense.
local function head_of(s, from, octets)
  if octets < HEADER_OCTETS then
    return nil
  end
  local identification = READ.u16(s, from)
  local kind = KINDS[identification % 2048]
  if not kind or identification < 2048 or READ.u8(s, from + 15) ~= LAYOUT_VERSION then
    return nil
  end
  local spacecraft, boot_count = READ.u16(s, from + 16), READ.u16(s, from + 18)
  local sequence = READ.u16(s, from + 20) * 16384 + READ.u16(s, from + 2) % 16384
  return {
    kind = kind,
    day = READ.u16(s, from + 7),
    ms = READ.u32(s, from + 9),
    us = READ.u16(s, from + 13),
    spacecraft = spacecraft,
    boot_count = boot_count,
    sequence = sequence,
    text = format("%s %s #%d boot %d", satellite_id(spacecraft), kind.name, sequence, boot_count),
  }
end

-- Octets of an item that has all its parts where they belong: a good frame, or one that was
-- refused for what it says or for its CRC. Nil for others.
local function whole(s, item)
  local refusal = item.refusal
  if item.octets < FRAME_OCTETS_MIN or item.is_cut or refusal == "too_short"
    or refusal == "length_mismatch" then
    return nil
  end
  local octets = READ.u16(s, item.from + 4) + LENGTH_BIAS
  return octets <= item.octets and octets or nil
end

local function has_body(item, frame_octets)
  return item.head ~= nil and item.head.kind.octets == frame_octets
end

local function text_of(item)
  local text = item.head and item.head.text or format("%d octets", item.octets)
  if item.refusal then
    return format("Refused (%s): %s", item.refusal, text)
  elseif item.is_cut then
    return "Not captured whole: " .. text
  elseif item.head then
    return format("%s, %s UTC", text, utc(item.head.day, item.head.ms, item.head.us))
  end
  return "Idle, " .. text
end

-- Adds the frame with all its parts, and says where it is in the tree.
local function add_frame(root, tvb, s, item)
  local from, octets, head, read = item.from, item.octets, item.head, 0
  local tree = root:add(F.frame, tvb(from, octets))
  tree:set_text(text_of(item))
  if octets >= PRIMARY_OCTETS then
    add_primary(tree, tvb, s, from)
    read = PRIMARY_OCTETS
  end
  if head then
    add_secondary(tree, tvb, s, from, head)
    read = HEADER_OCTETS
  end
  local frame_octets = whole(s, item)
  if frame_octets then
    if has_body(item, frame_octets) then
      add_body(tree, tvb, s, from, head.kind, not item.refusal)
    elseif frame_octets > read + CRC_OCTETS then
      local is_idle = not head and not item.refusal
      tree:add(is_idle and F.filling or F.data,
        tvb(from + read, frame_octets - read - CRC_OCTETS))
    end
    add_crc(tree, tvb, s, from, frame_octets, item.refusal ~= "crc_mismatch")
    read = frame_octets
  end
  if octets > read then
    tree:add(F.data, tvb(from + read, octets - read))
  end
  if item.refusal then
    tree:add(F.refusal, tvb(from, octets), item.refusal):set_generated()
  end
  if item.judged then
    add_sequence(tree, tvb, from, item.judged)
  end
  return tree
end

local function add_remarks(tree, item)
  if item.refusal then
    tree:add_proto_expert_info(X[item.refusal])
  elseif item.is_cut then
    tree:add_proto_expert_info(X.cut)
  end
  local judged = item.judged
  if judged and judged.missing > 0 then
    local text = judged.missing == 1 and "1 frame is missing" or "%d frames are missing"
    tree:add_proto_expert_info(X.gap, format(text, judged.missing))
  elseif judged and X[judged.verdict] then
    tree:add_proto_expert_info(X[judged.verdict])
  end
  if judged and judged.is_reboot then
    tree:add_proto_expert_info(X.reboot)
  end
end

-- For a tree that nobody looks at: no more than the remarks, which are counted all the same.
local function check_frame(root, s, item)
  if item.head and not item.refusal and not item.is_cut then
    for _, f in ipairs(item.head.kind.fields) do
      if f.low or f.labels then
        check_range(root, f, READ[f.raw](s, item.from + HEADER_OCTETS + f.at))
      end
    end
  end
  add_remarks(root, item)
end

-- Whether anybody wants the fields: a window, an output, a filter, a column. Building the tree takes
-- ten times as long as all the rest.
local function is_wanted(tree)
  if tree.visible then
    return true
  end
  for _, field in ipairs(all_fields) do
    if tree:referenced(field) then
      return true
    end
  end
  return false
end

-- The info column --------------------------------------------------------------------------------

local NAMED_FRAMES_MAX = 2

local function count(counts, name, by)
  counts[name] = (counts[name] or 0) + (by or 1)
end

-- "SAT-01 health #12 boot 7 | SAT-02 health #9 boot 7 (+18 more) [1 bad CRC] [3 missing]"
local function summary_of(items)
  local named, good, counts = {}, 0, {}
  for _, item in ipairs(items) do
    if item.refusal then
      count(counts, item.refusal == "crc_mismatch" and "bad CRC" or item.refusal)
    elseif item.is_cut then
      count(counts, "not captured whole")
    elseif item.head then
      good = good + 1
      if good <= NAMED_FRAMES_MAX then
        named[good] = item.head.text
      end
    else
      count(counts, "idle")
    end
    local judged = item.judged
    if judged then
      if judged.missing > 0 then
        count(counts, "missing", judged.missing)
      elseif judged.verdict ~= "next" then
        count(counts, judged.verdict)
      end
      if judged.is_reboot then
        count(counts, "reboot")
      end
    end
  end
  local text = good > 0 and table.concat(named, " | ") or "no telemetry"
  if good > NAMED_FRAMES_MAX then
    text = format("%s (+%d more)", text, good - NAMED_FRAMES_MAX)
  end
  local notes = {}
  for name, number in pairs(counts) do
    notes[#notes + 1] = format(" [%d %s]", number, name)
  end
  table.sort(notes)
  return text .. table.concat(notes)
end

-- The dissector ----------------------------------------------------------------------------------

-- Streams, and what is known of each frame, as found when each packet was read for the first time:
-- Wireshark dissects packets again, in any order, when it shows them.
local streams, judgements = {}, {}

function orbitstream.init()
  streams, judgements = {}, {}
end

local IN_ORDER = { verdict = "next", missing = 0, is_reboot = false }

local function judge(pinfo, offset, head)
  local known = judgements[pinfo.number]
  if not pinfo.visited then
    local stream = format("%s %s %d %d", tostring(pinfo.dst), tostring(pinfo.dst_port),
      head.spacecraft, head.kind.apid)
    local time = (head.day * 86400000 + head.ms) * 1000 + head.us
    local verdict, missing, is_reboot =
      track(streams, stream, head.boot_count, head.sequence, time)
    if verdict ~= "next" or is_reboot then
      known = known or {}
      known[offset] = { verdict = verdict, missing = missing, is_reboot = is_reboot }
      judgements[pinfo.number] = known
    end
  end
  return known and known[offset] or IN_ORDER
end

function orbitstream.dissector(tvb, pinfo, tree)
  local length = tvb:len()
  if length == 0 then
    return 0
  end
  local s = tvb:raw(0, length)
  local items = frames_of(s)
  local last = items[#items]
  if length < tvb:reported_len()
    and (last.refusal == "too_short" or last.refusal == "length_mismatch") then
    last.refusal, last.is_cut = nil, true
  end
  for _, item in ipairs(items) do
    item.head = head_of(s, item.from, item.octets)
    if item.head and not item.refusal and not item.is_cut and orbitstream.prefs.sequence then
      item.judged = judge(pinfo, tvb:offset() + item.from, item.head)
    end
  end
  local summary = summary_of(items)
  pinfo.cols.protocol:set("OrbitStream")
  pinfo.cols.info:set(summary)
  local root = tree:add(orbitstream, tvb(0, length))
  root:append_text(", " .. summary)
  root:add(F.frames, tvb(0, length), #items):set_generated()
  local is_shown = is_wanted(tree)
  for _, item in ipairs(items) do
    if is_shown then
      add_remarks(add_frame(root, tvb, s, item), item)
    else
      check_frame(root, s, item)
    end
  end
  return length
end

-- Ports ------------------------------------------------------------------------------------------

local udp_ports = DissectorTable.get("udp.port")
local registered_ports = orbitstream.prefs.ports
udp_ports:add(registered_ports, orbitstream)
udp_ports:add_for_decode_as(orbitstream)

function orbitstream.prefs_changed()
  if orbitstream.prefs.ports ~= registered_ports then
    if registered_ports ~= "" then
      udp_ports:remove(registered_ports, orbitstream)
    end
    registered_ports = orbitstream.prefs.ports
    if registered_ports ~= "" then
      udp_ports:add(registered_ports, orbitstream)
    end
  end
end
