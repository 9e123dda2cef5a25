-- PROTOCOL R16, its last step: the cache of a shard is complete again if nothing that was there when the doubt was first
-- seen still waits for topic or table. Compare and delete: a doubt that was set again meanwhile stays.
--
-- KEYS    incomplete, outbox, unsettled                                   (one hash slot)
-- ARGV    incomplete as it was first seen, highest version then
-- answer  1 if it was removed, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for waiting = 2, 3 do
  if #redis.call('ZRANGE', KEYS[waiting], '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, 1) > 0 then return 0 end
end
return redis.call('DEL', KEYS[1])
