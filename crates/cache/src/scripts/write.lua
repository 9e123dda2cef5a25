-- PROTOCOL R1, R2, R5: gives each write of a batch its version and puts it into the cache and the outbox, all or nothing.
--
-- Every check of a write comes before its first effect, since Redis does not roll back, and effects come in an order of
-- which every prefix is harmless: the outbox entry first. A refused write touches nothing and stops no other.
--
-- KEYS per write  record, lease, last, outbox, unsettled, epoch, incomplete, and with an idempotency key that key's
--                                                                         (one hash slot)
-- ARGV common     epoch, seen, D, T (microseconds), most outbox entries, most unsettled entries (per shard), idempotency
--                 TTL (milliseconds)
-- ARGV per write  mine, member, payload, deleted (0|1), schema, trace, precondition (empty | none | unused | known | version),
--                 the lease under which no row was found (empty: none), fingerprint (empty: no idempotency key)
-- answer          now, then per write: {"OK", version} | {"EPOCH"} | {"QUIET"} | {"SKEW"} | {"LATE"} | {"MISMATCH"} |
--                 {"HIT", version, state[, payload, deleted, schema]} | {"MOVED", version} | {"FULL"} | {"INCOMPLETE"} | {"ABSENT"} |
--                 {"CONFLICT"[, version, state]} | {"ERR", code}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch, seen = ARGV[1], tonumber(ARGV[2])
local disagree, timeout = tonumber(ARGV[3]), tonumber(ARGV[4])
local most_outbox, most_unsettled, ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

-- R7: what the key's first request got, and how far that has come. Once the record has moved on, nothing here says so: what is
-- newer may become a dead letter, and what is gone may have been one (k50).
local function repeated(record, known, fingerprint)
  local version, logged, first = known:match('^(%d+) ([01]) (%x+)$')
  if first ~= fingerprint then return {'MISMATCH'} end
  local held = redis.call('HMGET', record, 'version', 'state', 'payload', 'deleted', 'schema')
  local newer = held[1] and tonumber(held[1]) - tonumber(version)
  if newer and newer >= 0 and held[2] == 'persisted' then
    return {'HIT', version, 'persisted'}
  elseif logged == '0' and newer == 0 and held[2] == 'cached' then
    return {'HIT', version, 'cached', held[3], held[4], held[5]}
  elseif logged == '0' and (newer ~= 0 or held[2] == 'awaited') then
    return {'MOVED', version}
  end
  return {'HIT', version, 'logged'}
end

-- R5, step 5: what stands against the precondition, if anything does. A settled record of another epoch counts as absent
-- (R15). What the table still awaits nobody can compare with (k53). What is absent here may be in MySQL: only whoever holds a
-- lease of this epoch that was given before the row was looked for, and that no write and no settle has taken away since, knows
-- that there is none (R12).
local function unmet(k, wanted, lease)
  if redis.call('EXISTS', KEYS[k + 6]) == 1 then return {'INCOMPLETE'} end
  local held = redis.call('HMGET', KEYS[k], 'version', 'state', 'deleted', 'epoch')
  if held[2] == 'awaited' then return {'INCOMPLETE'} end
  local there = held[1] and (held[2] ~= 'persisted' or held[4] == epoch)
  local proven = lease:match('^(%d+) ') == epoch and redis.call('GET', KEYS[k + 1]) == lease
  if not there and not proven then return {'ABSENT'} end
  local lives = there and held[3] == '0'
  if wanted == 'unused' then
    return there and {'CONFLICT', held[1], held[2]} or nil
  elseif wanted == 'none' then
    return lives and {'CONFLICT', held[1], held[2]} or nil
  elseif lives then
    return held[1] ~= wanted and {'CONFLICT', held[1], held[2]} or nil
  end
  return {'CONFLICT'}
end

local function write(k, a)
  local record, lease, last, outbox, unsettled = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local mine, member, wanted, fingerprint = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 6], ARGV[a + 8]
  local life = redis.call('HMGET', KEYS[k + 5], 'n', 'changed_at')
  if life[1] ~= epoch then return {'EPOCH'} end
  -- R2, `k40`: whatever the process knows of the change, and however long the write has waited. A clock that was set back
  -- by more than T since keeps nobody quiet until it has caught up.
  if math.abs(now - tonumber(life[2] or '0')) < timeout then return {'QUIET'} end
  if mine - now > disagree then return {'SKEW'} end
  if now - mine > timeout - disagree then return {'LATE'} end
  if fingerprint ~= '' then
    local known = redis.call('GET', KEYS[k + 7])
    if known then return repeated(record, known, fingerprint) end
  end
  if wanted == 'known' then return {'CONFLICT'} end
  if redis.call('ZCARD', outbox) >= most_outbox then return {'FULL'} end
  if redis.call('ZCARD', unsettled) >= most_unsettled then return {'FULL'} end
  local refused = wanted ~= '' and unmet(k, wanted, ARGV[a + 7])
  if refused then return refused end
  local issued = tonumber(redis.call('GET', last) or '0')
  local held = redis.call('HMGET', record, 'version', 'state')

  -- Whatever the keys hold, they are of the right type from here on.
  local version = math.max(now, issued + 1, seen + 1, mine)
  version = string.format('%.0f', math.ceil(version / 16) * 16)
  redis.call('ZADD', outbox, version, member)
  redis.call('HSET', record, 'version', version, 'state', 'cached', 'deleted', ARGV[a + 3], 'schema', ARGV[a + 4],
    'trace', ARGV[a + 5], 'payload', ARGV[a + 2])
  if held[1] then
    -- R14: what the table may lack is remembered, for the case that it refuses this.
    if held[2] == 'persisted' then
      redis.call('HDEL', record, 'below')
    else
      redis.call('HSET', record, 'below', held[1])
    end
    redis.call('HDEL', record, 'partition', 'offset', 'logged_at', 'epoch')
    redis.call('PERSIST', record)
    -- It waits for the topic now, and only for that: a record that is overwritten faster than it is acknowledged would stand
    -- here with its first version for ever, and no doubt would end and no purge begin.
    redis.call('ZREM', unsettled, member)
  end
  if fingerprint ~= '' then
    redis.call('SET', KEYS[k + 7], version .. ' 0 ' .. fingerprint, 'PX', ttl)
  end
  redis.call('SET', last, version)
  redis.call('DEL', lease)
  return {'OK', version}
end

local answers = {string.format('%.0f', now)}
local k = 1
for a = 8, #ARGV, 9 do
  local done, answer = pcall(write, k, a)
  if not done then
    -- Only a wrong type is this write's own; anything else (OOM, READONLY, …) meets them all, and none was made.
    if not answer:find('^WRONGTYPE') then return redis.error_reply(answer) end
    answer = {'ERR', 'WRONGTYPE'}
  end
  answers[#answers + 1] = answer
  k = k + (ARGV[a + 8] == '' and 7 or 8)
end
return answers
