-- PROTOCOL R6: the topic has acknowledged these versions. Where the record still is that version, it moves from the
-- outbox to the unsettled; where it has moved on, nothing happens, since only the newest version is ever relayed. An
-- idempotency key that still holds the version learns of it in either case (R7).
--
-- KEYS per shard  last, outbox, unsettled, epoch, incomplete
-- KEYS per entry  record, and with an idempotency key that key's
-- ARGV common     how many shards
-- ARGV per entry  which shard (from 0), member, version, partition, offset, logged at (microseconds), keyed (0|1)
-- answer          {how many moved, how many could not be looked at, why the last of them}
local moved, refused, why = 0, 0, false
local k, keyed = tonumber(ARGV[1]) * 5 + 1, {}
for a = 2, #ARGV, 7 do
  local record, shard, member, version = KEYS[k], tonumber(ARGV[a]) * 5, ARGV[a + 1], ARGV[a + 2]
  local held = redis.pcall('HMGET', record, 'version', 'state')
  if held.err then
    refused, why = refused + 1, held.err
  elseif held[1] == version and held[2] == 'cached' then
    -- First what frees memory: then Redis lets the rest through when it has none left. Else the relay would publish
    -- these versions again and again until it has.
    redis.call('ZREM', KEYS[shard + 2], member)
    redis.call('ZADD', KEYS[shard + 3], version, member)
    redis.call('HSET', record, 'state', 'logged', 'partition', ARGV[a + 3], 'offset', ARGV[a + 4], 'logged_at',
      ARGV[a + 5])
    moved = moved + 1
  end
  if ARGV[a + 6] == '1' then
    keyed[KEYS[k + 1]] = version
    k = k + 1
  end
  k = k + 1
end
-- Last, and never in the way of the above: a key that does not learn of it costs one event more when it comes again.
for key, version in pairs(keyed) do
  local known = redis.pcall('GET', key)
  local fingerprint = type(known) == 'string' and known:match('^' .. version .. ' 0 (%x+)$')
  if fingerprint then redis.pcall('SET', key, version .. ' 1 ' .. fingerprint, 'KEEPTTL') end
end
return {moved, refused, why}
