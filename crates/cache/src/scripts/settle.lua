-- PROTOCOL R14: MySQL holds version h of these records, as read back in the epoch given. Only now may an entry leave
-- the cache. In doubt (another epoch, or incomplete) an entry is dropped rather than marked: the row answers for it.
--
-- KEYS per entry  record, lease, outbox, unsettled, last, epoch, incomplete (one hash slot)
-- ARGV common     epoch, settled TTL (milliseconds)
-- ARGV per entry  member, h
-- answer          how many records were marked persisted
local epoch, ttl = ARGV[1], ARGV[2]

local function settle(k, a)
  local record, outbox, unsettled, last = KEYS[k], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local member, h = ARGV[a], tonumber(ARGV[a + 1])
  redis.call('DEL', KEYS[k + 1])
  if tonumber(redis.call('GET', last) or '0') < h then redis.call('SET', last, ARGV[a + 1]) end

  local version = tonumber(redis.call('HGET', record, 'version') or '0')
  if version > h then return 0 end
  redis.call('ZREM', outbox, member)
  redis.call('ZREM', unsettled, member)
  local certain = redis.call('HGET', KEYS[k + 5], 'n') == epoch and redis.call('EXISTS', KEYS[k + 6]) == 0
  if version == h and certain then
    redis.call('HSET', record, 'state', 'persisted', 'epoch', epoch)
    redis.call('PEXPIRE', record, ttl)
    return 1
  end
  redis.call('DEL', record)
  return 0
end

local marked = 0
for i = 0, #KEYS / 7 - 1 do
  marked = marked + settle(i * 7 + 1, i * 2 + 3)
end
return marked
