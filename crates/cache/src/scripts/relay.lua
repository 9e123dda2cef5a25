-- PROTOCOL R10: the oldest outbox entries of one shard between two versions, with their records. An entry without a record
-- behind it is dropped: there is nothing to bring to the topic. One that cannot be looked at stays. A page ends early where
-- its records grow large, since Redis does nothing else meanwhile.
--
-- KEYS    outbox                                                          (records of its members: same hash slot)
-- ARGV    version to begin behind, highest version, how many, bytes, prefix of the record keys
-- answer  version that was looked at last (empty: there was none), then per entry {member, version, payload, deleted,
--         schema, trace}
local answer, bytes = {''}, 0
local found = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
for i = 1, #found, 2 do
  if bytes >= tonumber(ARGV[4]) then break end
  local held = redis.pcall('HMGET', ARGV[5] .. found[i], 'version', 'payload', 'deleted', 'schema', 'trace')
  if held.err then
    answer[#answer + 1] = {found[i], false, false, false, false, false}
  elseif held[1] then
    answer[#answer + 1] = {found[i], held[1], held[2], held[3], held[4], held[5]}
    bytes = bytes + #(held[2] or '')
  else
    redis.call('ZREM', KEYS[1], found[i])
  end
  answer[1] = found[i + 1]
end
return answer
