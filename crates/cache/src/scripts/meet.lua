-- PROTOCOL R15, R16: what a process does before it uses a connection, and again where a script met another epoch. A Redis
-- that was emptied (a shard has no epoch), restarted or failed over (another run_id), made a replica and a master again
-- (another replication id: it may have another's data since), or half restored (its shards disagree) begins a new life: all
-- shards get a number that none ever had, and are incomplete. The one script does it for all of them, so that no process
-- finds a Redis half raised.
--
-- KEYS    epoch of every shard, then incomplete of every shard
-- ARGV    run_id of the server, its replication id, the epoch that the process knows, raise (0|1): settles were given up,
--         then per shard doubt (0|1): writes were made around it
-- answer  {epoch in force, microseconds since Redis was last found changed}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local run_id, replid, shards = ARGV[1], ARGV[2], #KEYS / 2
local n, highest, changed_at, changed = nil, tonumber(ARGV[3]), 0, false
for shard = 1, shards do
  local held = redis.call('HMGET', KEYS[shard], 'n', 'run_id', 'replid', 'changed_at')
  changed = changed or not held[1] or held[2] ~= run_id or held[3] ~= replid or held[1] ~= (n or held[1])
  n = held[1] or n
  highest = math.max(highest, tonumber(held[1] or '0'))
  changed_at = math.max(changed_at, tonumber(held[4] or '0'))
end
if changed then changed_at = now end
local raise = changed or ARGV[4] == '1'
if raise then n = string.format('%.0f', math.max(highest + 1, now)) end

-- A write that needs no memory comes first: Redis then lets the others through when it has none left, and only a Redis
-- that was met can be settled, which is what makes room.
redis.call('HDEL', KEYS[1], '')
for shard = 1, shards do
  -- When it was set stands beside the epoch, so that whoever is about to remove it sees that it was set again.
  if changed or ARGV[4 + shard] == '1' then
    redis.call('SET', KEYS[shards + shard], n .. ' ' .. string.format('%.0f', now))
  end
end
if raise then
  for shard = 1, shards do
    redis.call('HSET', KEYS[shard], 'n', n, 'run_id', run_id, 'replid', replid, 'changed_at',
      string.format('%.0f', changed_at))
  end
end
return {n, string.format('%.0f', math.max(now - changed_at, 0))}
