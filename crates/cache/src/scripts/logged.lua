-- PROTOCOL R6: the topic has acknowledged these versions. Where the record still is that version, it moves from the
-- outbox to the unsettled; where it has moved on, nothing happens, since only the newest version is ever relayed.
--
-- KEYS per entry  record, outbox, unsettled                               (one hash slot)
-- ARGV per entry  member, version, partition, offset, logged at (microseconds)
-- answer          {how many moved, how many could not be looked at, why the last of them}
local moved, refused, why = 0, 0, false
for i = 0, #KEYS / 3 - 1 do
  local record, a = KEYS[i * 3 + 1], i * 5 + 1
  local held = redis.pcall('HMGET', record, 'version', 'state')
  if held.err then
    refused, why = refused + 1, held.err
  elseif held[1] == ARGV[a + 1] and held[2] == 'cached' then
    -- First what frees memory: then Redis lets the rest through when it has none left. Else the relay would publish
    -- these versions again and again until it has.
    redis.call('ZREM', KEYS[i * 3 + 2], ARGV[a])
    redis.call('ZADD', KEYS[i * 3 + 3], ARGV[a + 1], ARGV[a])
    redis.call('HSET', record, 'state', 'logged', 'partition', ARGV[a + 2], 'offset', ARGV[a + 3], 'logged_at',
      ARGV[a + 4])
    moved = moved + 1
  end
end
return {moved, refused, why}
