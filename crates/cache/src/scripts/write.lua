-- PROTOCOL R1, R2, R5: gives each write of a batch its version and puts it into the cache and the outbox, all or nothing.
--
-- Every check of a write comes before its first effect, since Redis does not roll back, and effects come in an order of
-- which every prefix is harmless: the outbox entry first. A refused write touches nothing and stops no other.
--
-- KEYS per write  record, lease, last, outbox, unsettled, epoch           (one hash slot)
-- ARGV common     epoch, seen, D, T (microseconds), most outbox entries, most unsettled entries (per shard)
-- ARGV per write  mine, member, payload, deleted (0|1), schema, trace
-- answer          now, then per write: {"OK", version} | {"EPOCH"} | {"SKEW"} | {"LATE"} | {"FULL"} | {"ERR", code}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch, seen = ARGV[1], tonumber(ARGV[2])
local disagree, timeout = tonumber(ARGV[3]), tonumber(ARGV[4])
local most_outbox, most_unsettled = tonumber(ARGV[5]), tonumber(ARGV[6])

local function write(k, a)
  local record, lease, last, outbox, unsettled = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local mine, member = tonumber(ARGV[a]), ARGV[a + 1]
  if redis.call('HGET', KEYS[k + 5], 'n') ~= epoch then return {'EPOCH'} end
  if mine - now > disagree then return {'SKEW'} end
  if now - mine > timeout - disagree then return {'LATE'} end
  if redis.call('ZCARD', outbox) >= most_outbox then return {'FULL'} end
  if redis.call('ZCARD', unsettled) >= most_unsettled then return {'FULL'} end
  local issued = tonumber(redis.call('GET', last) or '0')
  local known = redis.call('HEXISTS', record, 'version')

  -- Whatever the keys hold, they are of the right type from here on.
  local version = math.max(now, issued + 1, seen + 1, mine)
  version = string.format('%.0f', math.ceil(version / 16) * 16)
  redis.call('ZADD', outbox, version, member)
  redis.call('HSET', record, 'version', version, 'state', 'cached', 'deleted', ARGV[a + 3], 'schema', ARGV[a + 4],
    'trace', ARGV[a + 5], 'payload', ARGV[a + 2])
  if known == 1 then
    redis.call('HDEL', record, 'partition', 'offset', 'logged_at', 'epoch')
    redis.call('PERSIST', record)
  end
  redis.call('SET', last, version)
  redis.call('DEL', lease)
  return {'OK', version}
end

local answers = {string.format('%.0f', now)}
for i = 0, #KEYS / 6 - 1 do
  local done, answer = pcall(write, i * 6 + 1, i * 6 + 7)
  if not done then
    -- Only a wrong type is this write's own; anything else (OOM, READONLY, …) meets them all, and none was made.
    if not answer:find('^WRONGTYPE') then return redis.error_reply(answer) end
    answer = {'ERR', 'WRONGTYPE'}
  end
  answers[i + 2] = answer
end
return answers
