-- PROTOCOL R12, first half: a hit answers the record; a miss leaves a lease with which the reader may fill it. While the
-- cache is incomplete a miss gets no lease: it reads the row and fills nothing.
--
-- KEYS    record, lease, epoch, incomplete                                (one hash slot)
-- ARGV    epoch, lease token, lease (milliseconds)
-- answer  {"HIT", version, state, deleted, schema, payload} | {"MISS", leased (0|1)} | {"EPOCH"}
local epoch = ARGV[1]
if redis.call('HGET', KEYS[3], 'n') ~= epoch then return {'EPOCH'} end
local held = redis.call('HMGET', KEYS[1], 'version', 'state', 'deleted', 'schema', 'payload', 'epoch')
if held[1] and (held[2] ~= 'persisted' or held[6] == epoch) then
  return {'HIT', held[1], held[2], held[3], held[4], held[5]}
end
if redis.call('EXISTS', KEYS[4]) == 1 then return {'MISS', 0} end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return {'MISS', 1}
