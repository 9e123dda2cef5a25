-- PROTOCOL R14: MySQL holds version h of these records, read back when the epoch was e. Only now may an entry leave the
-- cache. In doubt (another epoch, or incomplete) an entry is dropped rather than marked: the row answers for it.
--
-- KEYS per shard  last, outbox, unsettled, epoch, incomplete
-- KEYS per entry  record, lease
-- ARGV common     how many shards, settled TTL (milliseconds)
-- ARGV per entry  which shard (from 0), member, h, e
-- answer          {how many records were marked persisted, how many could not be looked at, why the last of them, how many
--                 came in another epoch than theirs}
local ttl, strange = ARGV[2], 0
local call = redis.call

local shards = {}
local function shard(n)
  local known = shards[n]
  if known then return known end
  local k = n * 5 + 1
  known = {
    last = KEYS[k], outbox = KEYS[k + 1], unsettled = KEYS[k + 2],
    issued = tonumber(call('GET', KEYS[k]) or '0'), epoch = call('HGET', KEYS[k + 3], 'n'),
    complete = call('EXISTS', KEYS[k + 4]) == 0,
    waiting = call('ZCARD', KEYS[k + 1]), unpersisted = call('ZCARD', KEYS[k + 2]),
  }
  shards[n] = known
  return known
end

local function settle(k, a)
  local record, member, h, epoch = KEYS[k], ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3]
  -- The lease first: it frees memory, so that Redis lets a settle through when it has none left.
  call('DEL', KEYS[k + 1])
  local shard = shard(tonumber(ARGV[a]))
  if shard.issued < h then shard.issued, shard.seen = h, ARGV[a + 2] end

  local same_life = shard.epoch == epoch
  if not same_life then strange = strange + 1 end
  local held = call('HMGET', record, 'version', 'state', 'below')
  local version = tonumber(held[1] or '0')
  -- In whatever epoch it was read: the table never goes back.
  if held[3] and tonumber(held[3]) <= h then call('HDEL', record, 'below') end
  if version > h then return 0 end
  -- It stands in the index of its state. Without a record it stands in none, but for what somebody left there.
  if shard.waiting > 0 and (held[2] == 'cached' or not held[2]) then
    shard.waiting = shard.waiting - call('ZREM', shard.outbox, member)
  end
  if shard.unpersisted > 0 and (held[2] == 'logged' or held[2] == 'awaited' or not held[2]) then
    shard.unpersisted = shard.unpersisted - call('ZREM', shard.unsettled, member)
  end
  if not held[1] then return 0 end
  if version == h and held[2] ~= 'awaited' and same_life and shard.complete then
    call('HSET', record, 'state', 'persisted', 'epoch', epoch)
    call('PEXPIRE', record, ttl)
    return 1
  end
  call('DEL', record)
  return 0
end

local marked, refused, why = 0, 0, false
local k = tonumber(ARGV[1]) * 5 + 1
for a = 3, #ARGV, 4 do
  local done, answer = pcall(settle, k, a)
  k = k + 2
  if done then
    marked = marked + answer
  elseif answer:find('^WRONGTYPE') then
    refused, why = refused + 1, answer
  else
    -- Anything else (READONLY, …) meets them all, and none was settled.
    return redis.error_reply(answer)
  end
end
for _, shard in pairs(shards) do
  if shard.seen then call('SET', shard.last, shard.seen) end
end
return {marked, refused, why, strange}
