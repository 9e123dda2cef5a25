-- PROTOCOL R11: the oldest unsettled entries of one shard between two versions, and how far the records behind them have
-- come. An entry without a record behind it is dropped: there is nothing to settle. One that cannot be looked at stays.
--
-- KEYS    unsettled                                                       (records of its members: same hash slot)
-- ARGV    version to begin behind, highest version, how many, prefix of the record keys
-- answer  version that was looked at last (empty: there was none), then per entry {member, version, state (awaited: that is
--         all that is left of the record, since "logged at"), partition, logged at (microseconds)}
local answer = {''}
local found = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
for i = 1, #found, 2 do
  local held = redis.pcall('HMGET', ARGV[4] .. found[i], 'version', 'state', 'partition', 'logged_at')
  if held[1] then
    answer[#answer + 1] = {found[i], held[1], held[2], held[3], held[4]}
  elseif not held.err then
    redis.call('ZREM', KEYS[1], found[i])
  end
  answer[1] = found[i + 1]
end
return answer
