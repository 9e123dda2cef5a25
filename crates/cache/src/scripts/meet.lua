-- PROTOCOL R15, in its first form: what a process does before it uses a connection. Where a shard has no epoch, this
-- Redis is new or was emptied, and the epoch is set.
--
-- KEYS    epoch                                                           (of one shard)
-- ARGV    the epoch's number, run_id of the server
-- answer  the number in force
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'n', ARGV[1], 'run_id', ARGV[2])
end
return redis.call('HGET', KEYS[1], 'n')
