-- PROTOCOL R4: gives a slot back, if it still is the caller's.
--
-- KEYS    slot
-- ARGV    identity
-- answer  1 if it was
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
