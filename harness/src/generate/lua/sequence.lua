-- Sequence counters ------------------------------------------------------------------------------

-- Judges each frame as the ground station does (receiver/src/track.rs): per stream, which is a
-- spacecraft and APID at one destination, and per boot, on the full 30-bit counter.

local MODULUS = 1073741824
-- Counts that are remembered, the newest included.
local WINDOW_COUNTS = 4096

-- Takes notice of a count and says what its frame is: "next", "gap" and how many are missing,
-- "late", "duplicate" or "stale". `came` holds at most WINDOW_COUNTS counts, each at its own place.
local function take(boot, sequence)
  local came, place = boot.came, sequence % WINDOW_COUNTS
  if boot.heard == 0 then
    boot.newest, boot.heard, came[place] = sequence, 1, sequence
    return "next", 0
  end
  local steps = (sequence - boot.newest) % MODULUS
  if steps > 0 and steps < MODULUS / 2 then
    boot.newest, came[place] = sequence, sequence
    boot.heard = math.min(boot.heard + steps, WINDOW_COUNTS)
    if steps == 1 then
      return "next", 0
    end
    return "gap", steps - 1
  end
  local age = (boot.newest - sequence) % MODULUS
  if age >= WINDOW_COUNTS then
    return "stale", 0
  end
  if came[place] == sequence then
    return "duplicate", 0
  end
  came[place] = sequence
  -- What is older than the first that was heard was not waited for.
  return age < boot.heard and "late" or "next", 0
end

local function new_boot(count)
  return { count = count, heard = 0, came = {} }
end

-- Takes notice of a frame: its verdict, how many are missing before it, whether the spacecraft has
-- started again.
local function track(streams, stream, boot_count, sequence)
  local boots = streams[stream]
  if not boots then
    boots = { current = new_boot(boot_count) }
    streams[stream] = boots
  end
  local boot, is_reboot = boots.current, false
  if boot.count ~= boot_count then
    boot = boots.previous
    if not boot or boot.count ~= boot_count then
      boot, is_reboot = new_boot(boot_count), true
      boots.previous, boots.current = boots.current, boot
    end
  end
  local verdict, missing = take(boot, sequence)
  return verdict, missing, is_reboot
end
