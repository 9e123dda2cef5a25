-- PROTOCOL R4: a slot: the one that its caller holds already, else the first free one from where it begins to look. One owner
-- each, until the lease ends.
--
-- KEYS    the slots to choose from, in order                              (one hash slot)
-- ARGV    identity, lease (milliseconds), slot to begin at (from 0)
-- answer  which of the slots (from 1), or 0: all are others'
local holders = redis.call('MGET', unpack(KEYS))
local free = 0
for i = 0, #KEYS - 1 do
  local at = (ARGV[3] + i) % #KEYS + 1
  if holders[at] == ARGV[1] then
    free = at
    break
  end
  if free == 0 and not holders[at] then free = at end
end
if free > 0 then redis.call('SET', KEYS[free], ARGV[1], 'PX', ARGV[2]) end
return free
