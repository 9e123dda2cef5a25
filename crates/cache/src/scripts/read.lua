-- PROTOCOL R12, first half: a hit answers the record; a miss leaves a lease with which the reader may fill it. While the
-- cache is incomplete a miss gets no lease: it reads the row and fills nothing. Nor while the table awaits a version of the
-- record that a dead letter has uncovered (R14).
--
-- KEYS    record, lease, epoch, incomplete                                (one hash slot)
-- ARGV    epoch, lease token, lease (milliseconds)
-- answer  {"HIT", version, state, deleted, schema, payload} | {"MISS"[, lease]} | {"ERR", code}: a miss, and Redis refuses to
--         keep a lease | {"EPOCH"}
local epoch = ARGV[1]
if redis.call('HGET', KEYS[3], 'n') ~= epoch then return {'EPOCH'} end
local held = redis.call('HMGET', KEYS[1], 'version', 'state', 'deleted', 'schema', 'payload', 'epoch')
if held[2] == 'awaited' then return {'MISS'} end
if held[1] and (held[2] ~= 'persisted' or held[6] == epoch) then
  return {'HIT', held[1], held[2], held[3], held[4], held[5]}
end
if redis.call('EXISTS', KEYS[4]) == 1 then return {'MISS'} end
-- One that stands is handed on, for the rest of its time: no write and no settle came since it was given, so that it is as
-- good for a row that is read only now. If each reader took it over, many would keep a creator from it for ever.
local stands = redis.pcall('GET', KEYS[2])
if type(stands) == 'string' and stands:match('^(%d+) ') == epoch then return {'MISS', stands} end
local lease = epoch .. ' ' .. ARGV[2]
local kept = redis.pcall('SET', KEYS[2], lease, 'PX', ARGV[3])
local code = kept.err and kept.err:match('^%S+')
if code == 'OOM' or code == 'MISCONF' or code == 'NOREPLICAS' then return {'ERR', code} end
if code then return redis.error_reply(kept.err) end
return {'MISS', lease}
