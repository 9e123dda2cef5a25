-- PROTOCOL R14: these versions are dead letters: no table will ever hold them. What the cache has of them goes, in doubt as
-- well; a record that has moved on stays. Else the sweep would bring the version to the topic again and again (k43). What it
-- had overwritten may still be on its way to the table: then its version stays behind, without content, and the table is not
-- believed before it has got that far (k53). The sweep lets go of one that nobody will bring any more.
--
-- KEYS per entry  record, lease, outbox, unsettled                        (one hash slot)
-- ARGV per entry  member, version, in vain (0|1): the version is awaited, and will not come
-- answer          {how many records were dropped, how many could not be looked at, why the last of them}
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])

local function drop(k, a)
  local record, unsettled, member, version = KEYS[k], KEYS[k + 3], ARGV[a], ARGV[a + 1]
  redis.call('DEL', KEYS[k + 1])
  local held = redis.call('HMGET', record, 'version', 'state', 'below')
  if held[1] and held[1] ~= version then return 0 end
  local awaited = held[2] == 'awaited'
  if awaited ~= (ARGV[a + 2] == '1') and held[1] then return 0 end
  redis.call('ZREM', KEYS[k + 2], member)
  redis.call('ZREM', unsettled, member)
  local gone = redis.call('DEL', record)
  if held[3] then
    redis.call('ZADD', unsettled, held[3], member)
    redis.call('HSET', record, 'version', held[3], 'state', 'awaited', 'logged_at', now)
  end
  return gone
end

local dropped, refused, why = 0, 0, false
for i = 0, #KEYS / 4 - 1 do
  local done, answer = pcall(drop, i * 4 + 1, i * 3 + 1)
  if done then
    dropped = dropped + answer
  elseif answer:find('^WRONGTYPE') then
    refused, why = refused + 1, answer
  else
    -- Anything else (READONLY, …) meets them all.
    return redis.error_reply(answer)
  end
end
return {dropped, refused, why}
