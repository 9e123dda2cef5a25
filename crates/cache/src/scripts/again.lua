-- PROTOCOL R11, second half: these versions were produced a second time. The record is told where its event stands now, so
-- that the sweep waits until the group has passed that.
--
-- KEYS per entry  record
-- ARGV per entry  version, partition, offset, logged at (microseconds)
-- answer          {how many were told, how many could not be looked at, why the last of them}
local told, refused, why = 0, 0, false
for i = 0, #KEYS - 1 do
  local record, a = KEYS[i + 1], i * 4 + 1
  local held = redis.pcall('HMGET', record, 'version', 'state')
  if held.err then
    refused, why = refused + 1, held.err
  elseif held[1] == ARGV[a] and held[2] == 'logged' then
    redis.call('HSET', record, 'partition', ARGV[a + 1], 'offset', ARGV[a + 2], 'logged_at', ARGV[a + 3])
    told = told + 1
  end
end
return {told, refused, why}
