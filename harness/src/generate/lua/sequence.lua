-- Sequence counters ------------------------------------------------------------------------------

-- Judges each frame as the ground station does (receiver/src/track.rs): per stream, which is a
-- spacecraft and APID at one destination, and per boot, on the full 30-bit counter.

local MODULUS, HALF = 1073741824, 536870912
-- Counts of which is known whether they were received, the newest included.
local WINDOW_COUNTS = 4096
-- Ranges of counts that were not received, as many as are remembered of one boot.
local RANGES_MAX = 64
-- Boots beside the current and the previous one that are followed, and how many frames with rising
-- times make one of them the current boot.
local CANDIDATES, REBOOT_FRAMES = 2, 3

-- Inserts a range; of too many the smallest is forgotten, among equals the oldest, which is first.
local function insert_range(ranges, place, range)
  table.insert(ranges, place, range)
  if #ranges <= RANGES_MAX then
    return
  end
  local smallest = 1
  for index = 2, #ranges do
    if ranges[index].counts < ranges[smallest].counts then
      smallest = index
    end
  end
  -- Where less was received between two than the smallest has, these two become one.
  local closest, least = nil, ranges[smallest].counts - 1
  for index = 1, #ranges - 1 do
    local left, right = ranges[index], ranges[index + 1]
    local between = (right.start - left.start) % MODULUS - left.counts
    if left.kind == right.kind and between <= least and least > 0 then
      closest, least = index, between
    end
  end
  if closest then
    local left, right = ranges[closest], ranges[closest + 1]
    local counts = (right.start - left.start) % MODULUS + right.counts
    ranges[closest] = { start = left.start, counts = counts, kind = left.kind }
    table.remove(ranges, closest + 1)
    return
  end
  table.remove(ranges, smallest)
end

-- Forgets what will lie more than half the modulus behind when the newest is so many steps on.
local function trim_ranges(boot, steps)
  local range = boot.ranges[1]
  while range do
    local excess = (boot.newest - range.start) % MODULUS + steps - HALF
    if excess <= 0 then
      return
    end
    if excess < range.counts then
      range.start, range.counts = (range.start + excess) % MODULUS, range.counts - excess
      return
    end
    table.remove(boot.ranges, 1)
    range = boot.ranges[1]
  end
end

-- Takes a count out of its range: "late" if it was counted as missed, else "next"; nil when no range
-- has it.
local function take_from_ranges(boot, sequence)
  trim_ranges(boot, 0)
  local ranges = boot.ranges
  for place, range in ipairs(ranges) do
    local before = (sequence - range.start) % MODULUS
    if before < range.counts then
      local after = range.counts - before - 1
      table.remove(ranges, place)
      if before > 0 then
        insert_range(ranges, place, { start = range.start, counts = before, kind = range.kind })
        place = place + 1
      end
      if after > 0 then
        local start = (sequence + 1) % MODULUS
        insert_range(ranges, place, { start = start, counts = after, kind = range.kind })
      end
      return range.kind
    end
  end
  return nil
end

-- Takes a count and says what its frame is: "next", "gap" and how many are missing, "late",
-- "duplicate" or "stale". `came` holds at most WINDOW_COUNTS counts, each at its own place.
local function take(boot, sequence)
  local came, place = boot.came, sequence % WINDOW_COUNTS
  if boot.heard == 0 then
    boot.newest, boot.heard, came[place] = sequence, 1, sequence
    insert_range(boot.ranges, 1, { start = (sequence - HALF) % MODULUS, counts = HALF, kind = "next" })
    return "next", 0
  end
  local steps = (sequence - boot.newest) % MODULUS
  if steps > 0 and steps < HALF then
    trim_ranges(boot, steps)
    if steps > 1 then
      local start = (boot.newest + 1) % MODULUS
      insert_range(boot.ranges, #boot.ranges + 1, { start = start, counts = steps - 1, kind = "late" })
    end
    boot.newest, came[place] = sequence, sequence
    boot.heard = math.min(boot.heard + steps, WINDOW_COUNTS)
    if steps == 1 then
      return "next", 0
    end
    return "gap", steps - 1
  end
  local age = (boot.newest - sequence) % MODULUS
  if age >= WINDOW_COUNTS then
    return take_from_ranges(boot, sequence) or "stale", 0
  end
  if came[place] == sequence then
    return "duplicate", 0
  end
  came[place] = sequence
  take_from_ranges(boot, sequence)
  -- What is older than the first that was heard was not waited for.
  return age < boot.heard and "late" or "next", 0
end

local function new_boot(count)
  return { count = count, heard = 0, came = {}, ranges = {}, confirmations = 0 }
end

-- Takes a frame generated at `time` (a number that rises): its verdict, how many are missing before it,
-- whether it shows that the spacecraft has started again.
local function track(streams, stream, boot_count, sequence, time)
  local boots = streams[stream]
  if not boots then
    boots = { current = new_boot(boot_count), candidates = {} }
    streams[stream] = boots
  end
  for _, boot in ipairs({ boots.current, boots.previous }) do
    if boot.count == boot_count then
      local verdict, missing = take(boot, sequence)
      return verdict, missing, false
    end
  end
  local candidates, place = boots.candidates, nil
  for index, candidate in ipairs(candidates) do
    place = candidate.count == boot_count and index or place
  end
  if not place then
    -- The one that was heard least recently is first.
    if #candidates == CANDIDATES then
      table.remove(candidates, 1)
    end
    place = #candidates + 1
    candidates[place] = new_boot(boot_count)
  end
  local boot = candidates[place]
  local verdict, missing = take(boot, sequence)
  if verdict == "duplicate" or verdict == "stale" then
    return verdict, missing, false
  end
  table.remove(candidates, place)
  if not boot.confirmed_at or time > boot.confirmed_at then
    boot.confirmations = boot.confirmations + 1
  end
  boot.confirmed_at = time
  if boot.confirmations < REBOOT_FRAMES then
    candidates[#candidates + 1] = boot
    return verdict, missing, false
  end
  boots.previous, boots.current = boots.current, boot
  return verdict, missing, true
end
