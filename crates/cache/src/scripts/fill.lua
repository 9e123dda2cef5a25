-- PROTOCOL R12, second half: puts the row that a reader has read into the cache, only while its lease stands. Every
-- write and every settle takes the lease away, so that an older row never follows a newer one. A settle may have been lost
-- with an earlier life of Redis, and be missing while the cache is incomplete: a lease is good in its own epoch alone, and
-- ends before a doubt that came after it does.
--
-- KEYS    record, lease, last, epoch, incomplete                          (one hash slot)
-- ARGV    lease, version, payload, deleted (0|1), schema, settled TTL (milliseconds)
-- answer  1 if filled, else 0
local epoch = ARGV[1]:match('^(%d+) ')
if redis.call('HGET', KEYS[4], 'n') ~= epoch then return 0 end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[5]) == 1 then return 0 end
redis.call('DEL', KEYS[2])
local held = redis.call('HMGET', KEYS[1], 'version', 'state', 'epoch')
if held[1] then
  if held[2] ~= 'persisted' or held[3] == epoch then return 0 end
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', 'persisted', 'deleted', ARGV[4], 'schema', ARGV[5], 'trace', '',
  'payload', ARGV[3], 'epoch', epoch)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if tonumber(redis.call('GET', KEYS[3]) or '0') < tonumber(ARGV[2]) then redis.call('SET', KEYS[3], ARGV[2]) end
return 1
