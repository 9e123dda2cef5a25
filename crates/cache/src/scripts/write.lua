-- PROTOCOL R1, R2, R5: gives each write of a batch its version and puts it into the cache and the outbox, all or nothing.
--
-- Every check of a write comes before its first effect, since Redis does not roll back, and effects come in an order of
-- which every prefix is harmless: the outbox entry first. A refused write touches nothing and stops no other.
--
-- KEYS per shard  last, outbox, unsettled, epoch, incomplete
-- KEYS per write  record, lease, and with an idempotency key that key's
-- ARGV common     how many shards, epoch, seen, D, T (microseconds), most outbox entries, most unsettled entries (per shard),
--                 idempotency TTL (milliseconds)
-- ARGV per write  which shard (from 0), mine, member, payload, deleted (0|1), schema, trace, precondition (empty | none | unused | known | version),
--                 the lease under which no row was found (empty: none), fingerprint (empty: no idempotency key)
-- answer          now, then per write: version | {"EPOCH"} | {"QUIET"} | {"SKEW"} | {"LATE"} | {"MISMATCH"} |
--                 {"HIT", version, state[, payload, deleted, schema]} | {"MOVED", version} | {"FULL"} | {"INCOMPLETE"} | {"ABSENT"} |
--                 {"CONFLICT"[, version, state]} | {"ERR", code}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch, seen = ARGV[2], tonumber(ARGV[3])
local disagree, timeout = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_outbox, most_unsettled, ttl = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local call = redis.call

-- What the writes of a shard share is asked once, and kept up to date from there on.
local shards = {}
local function shard(n)
  local known = shards[n]
  if known then return known end
  local k = n * 5 + 1
  local life = call('HMGET', KEYS[k + 3], 'n', 'changed_at')
  known = {
    last = KEYS[k], outbox = KEYS[k + 1], unsettled = KEYS[k + 2], incomplete = KEYS[k + 4],
    epoch = life[1], changed_at = tonumber(life[2] or '0'), issued = tonumber(call('GET', KEYS[k]) or '0'),
    waiting = call('ZCARD', KEYS[k + 1]), unpersisted = call('ZCARD', KEYS[k + 2]),
  }
  shards[n] = known
  return known
end

-- R7: what the key's first request got, and how far that has come. Once the record has moved on, nothing here says so: what is
-- newer may become a dead letter, and what is gone may have been one (k50).
local function repeated(record, known, fingerprint)
  local version, logged, first = known:match('^(%d+) ([01]) (%x+)$')
  if first ~= fingerprint then return {'MISMATCH'} end
  local held = call('HMGET', record, 'version', 'state', 'payload', 'deleted', 'schema')
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
local function unmet(k, incomplete, wanted, lease)
  if call('EXISTS', incomplete) == 1 then return {'INCOMPLETE'} end
  local held = call('HMGET', KEYS[k], 'version', 'state', 'deleted', 'epoch')
  if held[2] == 'awaited' then return {'INCOMPLETE'} end
  local there = held[1] and (held[2] ~= 'persisted' or held[4] == epoch)
  local proven = lease:match('^(%d+) ') == epoch and call('GET', KEYS[k + 1]) == lease
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
  local record, lease, shard = KEYS[k], KEYS[k + 1], shard(tonumber(ARGV[a]))
  local mine, member, wanted, fingerprint = tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 7], ARGV[a + 9]
  if shard.epoch ~= epoch then return {'EPOCH'} end
  -- R2, `k40`: whatever the process knows of the change, and however long the write has waited. A clock that was set back
  -- by more than T since keeps nobody quiet until it has caught up.
  if math.abs(now - shard.changed_at) < timeout then return {'QUIET'} end
  if mine - now > disagree then return {'SKEW'} end
  if now - mine > timeout - disagree then return {'LATE'} end
  if fingerprint ~= '' then
    local known = call('GET', KEYS[k + 2])
    if known then return repeated(record, known, fingerprint) end
  end
  if wanted == 'known' then return {'CONFLICT'} end
  if shard.waiting >= most_outbox or shard.unpersisted >= most_unsettled then return {'FULL'} end
  local refused = wanted ~= '' and unmet(k, shard.incomplete, wanted, ARGV[a + 8])
  if refused then return refused end
  local held = call('HMGET', record, 'version', 'state')

  -- Whatever the keys hold, they are of the right type from here on.
  local number = math.ceil(math.max(now, shard.issued + 1, seen + 1, mine) / 16) * 16
  local version = string.format('%.0f', number)
  shard.issued, shard.last_issued = number, version
  shard.waiting = shard.waiting + call('ZADD', shard.outbox, version, member)
  call('HSET', record, 'version', version, 'state', 'cached', 'deleted', ARGV[a + 4], 'schema', ARGV[a + 5],
    'trace', ARGV[a + 6], 'payload', ARGV[a + 3])
  if held[1] then
    -- R14: what the table may lack is remembered, for the case that it refuses this.
    if held[2] == 'persisted' then
      call('HDEL', record, 'below', 'partition', 'offset', 'logged_at', 'epoch')
      call('PERSIST', record)
    else
      call('HSET', record, 'below', held[1])
    end
    if held[2] ~= 'cached' and held[2] ~= 'persisted' then
      call('HDEL', record, 'partition', 'offset', 'logged_at')
      -- It waits for the topic now, and only for that: a record that is overwritten faster than it is acknowledged would stand
      -- here with its first version for ever, and no doubt would end and no purge begin.
      shard.unpersisted = shard.unpersisted - call('ZREM', shard.unsettled, member)
    end
  end
  if fingerprint ~= '' then
    call('SET', KEYS[k + 2], version .. ' 0 ' .. fingerprint, 'PX', ttl)
  end
  call('DEL', lease)
  return number
end

-- After the writes, and whatever becomes of them: a version that was given is never given again.
local function remember()
  for _, shard in pairs(shards) do
    if shard.last_issued then call('SET', shard.last, shard.last_issued) end
  end
end

local answers = {string.format('%.0f', now)}
local k = tonumber(ARGV[1]) * 5 + 1
for a = 9, #ARGV, 10 do
  local done, answer = pcall(write, k, a)
  if not done then
    -- Only a wrong type is this write's own; anything else (OOM, READONLY, …) meets them all, and none was made.
    if not answer:find('^WRONGTYPE') then
      remember()
      return redis.error_reply(answer)
    end
    answer = {'ERR', 'WRONGTYPE'}
  end
  answers[#answers + 1] = answer
  k = k + (ARGV[a + 9] == '' and 2 or 3)
end
remember()
return answers
