-- PROTOCOL R14: MySQL holds version h of these records, read back when the epoch was e. Only now may an entry leave the
-- cache. In doubt (another epoch, or incomplete) an entry is dropped rather than marked: the row answers for it.
--
-- KEYS per entry  record, lease, outbox, unsettled, last, epoch, incomplete (one hash slot)
-- ARGV common     settled TTL (milliseconds)
-- ARGV per entry  member, h, e
-- answer          {how many records were marked persisted, how many could not be looked at, why the last of them, how many
--                 came in another epoch than theirs}
local ttl, strange = ARGV[1], 0

local function settle(k, a)
  local record, outbox, unsettled, last = KEYS[k], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local member, h, epoch = ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2]
  -- The lease first: it frees memory, so that Redis lets a settle through when it has none left.
  redis.call('DEL', KEYS[k + 1])
  if tonumber(redis.call('GET', last) or '0') < h then redis.call('SET', last, ARGV[a + 1]) end

  local same_life = redis.call('HGET', KEYS[k + 5], 'n') == epoch
  if not same_life then strange = strange + 1 end
  local held = redis.call('HMGET', record, 'version', 'state', 'below')
  local version = tonumber(held[1] or '0')
  -- In whatever epoch it was read: the table never goes back.
  if held[3] and tonumber(held[3]) <= h then redis.call('HDEL', record, 'below') end
  if version > h then return 0 end
  redis.call('ZREM', outbox, member)
  redis.call('ZREM', unsettled, member)
  if version == h and held[2] ~= 'awaited' and same_life and redis.call('EXISTS', KEYS[k + 6]) == 0 then
    redis.call('HSET', record, 'state', 'persisted', 'epoch', epoch)
    redis.call('PEXPIRE', record, ttl)
    return 1
  end
  redis.call('DEL', record)
  return 0
end

local marked, refused, why = 0, 0, false
for i = 0, #KEYS / 7 - 1 do
  local done, answer = pcall(settle, i * 7 + 1, i * 3 + 2)
  if done then
    marked = marked + answer
  elseif answer:find('^WRONGTYPE') then
    refused, why = refused + 1, answer
  else
    -- Anything else (READONLY, …) meets them all, and none was settled.
    return redis.error_reply(answer)
  end
end
return {marked, refused, why, strange}
