-- PROTOCOL R14: these versions are dead letters: no table will ever hold them. What the cache has of them goes, in doubt as
-- well; a record that has moved on stays. Else the sweep would bring the version to the topic again and again (k43).
--
-- KEYS per entry  record, lease, outbox, unsettled                        (one hash slot)
-- ARGV per entry  member, version
-- answer          {how many records were dropped, how many could not be looked at, why the last of them}
local function drop(k, a)
  local record, member, version = KEYS[k], ARGV[a], ARGV[a + 1]
  redis.call('DEL', KEYS[k + 1])
  local held = redis.call('HGET', record, 'version')
  if held and held ~= version then return 0 end
  redis.call('ZREM', KEYS[k + 2], member)
  redis.call('ZREM', KEYS[k + 3], member)
  return redis.call('DEL', record)
end

local dropped, refused, why = 0, 0, false
for i = 0, #KEYS / 4 - 1 do
  local done, answer = pcall(drop, i * 4 + 1, i * 2 + 1)
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
