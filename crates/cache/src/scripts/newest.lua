-- Where a record's newest version has got to, for whoever asks what became of a write. Leaves nothing behind. A settled record
-- of another epoch counts as absent (PROTOCOL R15): its row answers.
--
-- KEYS    record, epoch, incomplete                                       (one hash slot)
-- ARGV    epoch
-- answer  {"EPOCH"} | {"WHOLE" or "INCOMPLETE"[, version, state, partition, offset, logged at (microseconds)]}
if redis.call('HGET', KEYS[2], 'n') ~= ARGV[1] then return {'EPOCH'} end
local whole = redis.call('EXISTS', KEYS[3]) == 0 and 'WHOLE' or 'INCOMPLETE'
local held = redis.call('HMGET', KEYS[1], 'version', 'state', 'partition', 'offset', 'logged_at', 'epoch')
if not held[1] or (held[2] == 'persisted' and held[6] ~= ARGV[1]) then return {whole} end
return {whole, held[1], held[2], held[3], held[4], held[5]}
