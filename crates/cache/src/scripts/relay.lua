-- PROTOCOL R10: the oldest outbox entries of one shard up to a version, with their records. An entry without a record
-- behind it is dropped: there is nothing to bring to the topic. One that cannot be looked at stays.
--
-- KEYS    outbox                                                          (records of its members: same hash slot)
-- ARGV    highest version, how many, prefix of the record keys
-- answer  per entry {member, version, payload, deleted, schema, trace}
local entries = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local held = redis.pcall('HMGET', ARGV[3] .. member, 'version', 'payload', 'deleted', 'schema', 'trace')
  if held.err then
    entries[#entries + 1] = {member, false, false, false, false, false}
  elseif held[1] then
    entries[#entries + 1] = {member, held[1], held[2], held[3], held[4], held[5]}
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return entries
